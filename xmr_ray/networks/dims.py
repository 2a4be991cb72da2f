"""What a corpus fixes for every network, and hidden widths chosen from it."""

from typing import Annotated, Literal

from pydantic import Field

from xmr_ray.component import Settings

Width = Annotated[int, Field(ge=1)] | Literal["auto"]
_STEP = 64


class NetworkDims(Settings):
    """Feature widths, classes and the kind of labels; they come from the corpus schema, never from a configuration."""

    image_dim: int = Field(ge=1)
    text_dim: int = Field(ge=1)
    num_classes: int = Field(ge=1)
    multi_label: bool


def resolve_width(width: Width, dims: NetworkDims, *, narrowest: int, widest: int, factor: int) -> int:
    """The hidden width; `auto` is `factor` times the wider feature, in steps of 64, between `narrowest` and `widest`.

    >>> dims = NetworkDims(image_dim=128, text_dim=100, num_classes=10, multi_label=False)
    >>> resolve_width("auto", dims, narrowest=128, widest=512, factor=4), resolve_width(40, dims, narrowest=128, widest=512, factor=4)
    (512, 40)
    """
    if width != "auto":
        return width
    wanted = factor * max(dims.image_dim, dims.text_dim)
    return min(widest, max(narrowest, -(-wanted // _STEP) * _STEP))
