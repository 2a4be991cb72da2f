"""Raw pictures and texts -> feature vectors, one encoder per file. The unions here are the registries."""

from typing import Annotated

from pydantic import Field

from xmr_ray.encoders.efficientnet_lite import EfficientnetLite
from xmr_ray.encoders.minilm import Minilm
from xmr_ray.encoders.open_clip import OpenClip
from xmr_ray.encoders.pixels import Pixels
from xmr_ray.encoders.sentence_transformers import SentenceTransformers
from xmr_ray.encoders.tag_bow import TagBow
from xmr_ray.encoders.tfidf import Tfidf
from xmr_ray.encoders.timm import Timm
from xmr_ray.encoders.torchvision import Torchvision

ImageEncoder = Annotated[EfficientnetLite | OpenClip | Pixels | Timm | Torchvision, Field(discriminator="kind")]
TextEncoder = Annotated[Minilm | OpenClip | SentenceTransformers | TagBow | Tfidf, Field(discriminator="kind")]

__all__ = [
    "EfficientnetLite",
    "ImageEncoder",
    "Minilm",
    "OpenClip",
    "Pixels",
    "SentenceTransformers",
    "TagBow",
    "TextEncoder",
    "Tfidf",
    "Timm",
    "Torchvision",
]
