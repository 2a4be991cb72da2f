"""What every encoder is: settings that build something which turns pictures or texts into rows of numbers."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol, Self, TypeVar, runtime_checkable

from xmr_ray import storage
from xmr_ray.component import Component
from xmr_ray.errors import ConfigError
from xmr_ray.types import Floats

Item_contra = TypeVar("Item_contra", contravariant=True)


@runtime_checkable
class Built(Protocol[Item_contra]):
    """A loaded encoder."""

    @property
    def dim(self) -> int:
        """Numbers per row."""

    def encode(self, items: Sequence[Item_contra], /) -> Floats:
        """Features (B, dim) float32 of at least one picture (RGB) or text."""


class Encoder(Component):
    """Base of all encoders. The concrete class has `build(device)` for pictures, `build(device, state)` for texts.

    `files` are the fields that may name a file or folder of weights.
    """

    files: ClassVar[tuple[str, ...]] = ()

    def fit(self, texts: Iterable[str]) -> bytes | None:
        """What must be learnt from the train split's texts before the first is encoded; None if nothing, and then no text is read."""
        del texts
        return None

    def located(self) -> Self:
        """The same encoder, its files named so that every process finds them, wherever it works; what is no file here stays as it is."""
        given = {name: getattr(self, name) for name in self.files}
        there = {name: storage.absolute(path) for name, path in given.items() if path is not None and storage.exists(path)}
        return self.model_copy(update=there)

    def identified(self) -> Self:
        """The same encoder, its files named by what they hold: where weights lie changes no feature, other weights do."""
        given = {name: getattr(self, name) for name in self.files}
        held = {name: _digest(path) for name, path in given.items() if path is not None and storage.exists(path)}
        return self.model_copy(update=held)

    def refuse(self, state: bytes | None) -> None:
        """Raises `ConfigError` if there is a state although this encoder fits nothing: it belongs to another encoder."""
        if state is not None:
            raise ConfigError(f"encoder {self.kind!r} fits nothing, but was given {len(state)} bytes of state; they belong to another encoder")


def _digest(path: str) -> str:
    """SHA-256 of a file, or of the names and digests of everything in a folder."""
    if storage.size_of(path) is not None:
        return storage.digest_file(path)
    return storage.digest_bytes("\n".join(f"{name} {_digest(storage.join(path, name))}" for name in storage.list_names(path)).encode())
