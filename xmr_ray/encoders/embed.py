"""Raw pairs in, features out: pictures are read and prepared in threads while the model works on the batch before."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from xmr_ray import storage
from xmr_ray.component import Settings
from xmr_ray.corpus.raw import RawRecords, RawSchema, Reject
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.encoders import EfficientnetLite, ImageEncoder, Minilm, TextEncoder
from xmr_ray.encoders.images import Rejected, decode, thumbnail
from xmr_ray.encoders.precision import EncodingPrecision, choose_precision, reduced
from xmr_ray.errors import CorpusError, StorageError
from xmr_ray.networks.fitting import FittingBatches
from xmr_ray.types import FeatureDtype, Floats

Row = TypeVar("Row")
WITHOUT_EFFECT = ("batch_size", "decode_threads", "max_rejects")


class EmbedSettings(Settings):
    """How raw pairs become features. `max_rejects` counts over the whole job; `thumbnail` is the longest side in pixels, 0 for none."""

    image: ImageEncoder = EfficientnetLite()
    text: TextEncoder = Minilm()
    batch_size: PositiveInt = 64
    decode_threads: PositiveInt = 2
    max_pixels: PositiveInt = 64_000_000
    max_rejects: NonNegativeInt = 0
    thumbnail: int = Field(default=72, ge=0, le=512)
    dtype: FeatureDtype = "f16"
    precision: EncodingPrecision = "auto"


@dataclass(frozen=True)
class Encoded:
    """The pairs with their features (float32), in the order they came, and those left out."""

    records: PairRecords
    rejects: tuple[Reject, ...]


@dataclass(frozen=True)
class _Prepared:
    """One picture: its pixels and thumbnail, or why there are none."""

    pixels: Tensor | None = None
    thumbnail: bytes | None = None
    reason: str = ""


def corpus_schema(raw: RawSchema, settings: EmbedSettings, *, image_dim: int, text_dim: int, has_uris: bool = True) -> CorpusSchema:
    """The schema of the corpus that raw pairs become; its fingerprint covers theirs, local weights, and settings that change what is written."""
    identified = settings.model_copy(update={"image": settings.image.identified(), "text": settings.text.identified()})
    made_with = identified.model_dump_json(exclude=set(WITHOUT_EFFECT))
    return CorpusSchema(
        image_dim=image_dim,
        text_dim=text_dim,
        image_dtype=settings.dtype,
        text_dtype=settings.dtype,
        class_names=raw.class_names,
        multi_label=raw.multi_label,
        source=raw.source,
        reader=storage.digest_bytes(f"{raw.reader}\n{made_with}".encode()),
        has_captions=True,
        has_uris=has_uris,
        has_thumbnails=settings.thumbnail > 0,
    )


class PairEncoder:
    """Both encoders, loaded once; the only thing it reads are pictures at their URIs.

    Where a batch does not fit the device's memory it is halved and tried again, and stays halved.
    """

    def __init__(self, settings: EmbedSettings, *, state: bytes | None, device: torch.device | str) -> None:
        self.settings = settings
        self._device = torch.device(device)
        self._precision = choose_precision(settings.precision, self._device)
        self._image = settings.image.build(self._device)
        self._text = settings.text.build(self._device, state)
        self._batches = FittingBatches(settings.batch_size, self._device, step="embed")

    @property
    def image_dim(self) -> int:
        """Numbers per picture."""
        return self._image.dim

    @property
    def text_dim(self) -> int:
        """Numbers per text."""
        return self._text.dim

    def encode(self, records: RawRecords) -> Encoded:
        """Features of every pair whose picture can be read; an empty text is a text.

        Raises:
            ResourceError: one single pair does not fit the device's memory.
            CorpusError: an encoder gave NaN or infinity.
        """
        kept: list[int] = []
        thumbnails: list[bytes | None] = []
        rejects: list[Reject] = []
        images, texts = [np.empty((0, self.image_dim), np.float32)], [np.empty((0, self.text_dim), np.float32)]
        for start, prepared in self._prepared(records):
            good = [(start + i, one.pixels, one.thumbnail) for i, one in enumerate(prepared) if one.pixels is not None]
            bad = [(start + i, one.reason) for i, one in enumerate(prepared) if one.pixels is None]
            rejects += [Reject(int(records.pair_ids[row]), records.uris[row], reason) for row, reason in bad]
            if good:
                rows = [row for row, _, _ in good]
                images.append(self._fit(self._image.forward, [pixels for _, pixels, _ in good]))
                texts.append(self._fit(self._text.encode, [records.texts[row] for row in rows]))
                kept += rows
                thumbnails += [small for _, _, small in good]
        found = _with_features(records, kept, image_BI=np.concatenate(images), text_BT=np.concatenate(texts))
        return Encoded(replace(found, thumbnails=thumbnails) if self.settings.thumbnail else found, tuple(rejects))

    def _prepared(self, records: RawRecords) -> Iterator[tuple[int, list[_Prepared]]]:
        """Batches of prepared pictures with the row where each starts, one batch ahead of whoever asks."""
        size = self.settings.batch_size
        with ThreadPoolExecutor(self.settings.decode_threads) as threads:

            def submit(start: int) -> list[Callable[[], _Prepared]]:
                return [threads.submit(self._prepare, records, row).result for row in range(start, min(start + size, len(records)))]

            ahead = submit(0)
            for start in range(0, len(records), size):
                ready = [result() for result in ahead]
                ahead = submit(start + size)
                yield start, ready

    def _prepare(self, records: RawRecords, row: int) -> _Prepared:
        try:
            image = decode(_picture(records, row), max_pixels=self.settings.max_pixels)
        except Rejected as error:
            return _Prepared(reason=str(error))
        small = thumbnail(image, size=self.settings.thumbnail) if self.settings.thumbnail else None
        return _Prepared(self._image.prepare(image), small)

    def _fit(self, encode: Callable[[list[Row]], Floats], rows: list[Row]) -> Floats:
        """All rows' features, in batches that fit the device's memory."""
        with reduced(self._precision, self._device):
            return np.concatenate(self._batches.run(lambda part: encode(rows[part]), len(rows)))


def _picture(records: RawRecords, row: int) -> bytes:
    data = None if records.images is None else records.images[row]
    if data is not None:
        return data
    uri = records.uris[row]
    if uri is None:
        raise Rejected("neither a picture nor a URI")
    try:
        return storage.read_bytes(uri)
    except StorageError as error:
        raise Rejected(str(error)) from error


def _with_features(records: RawRecords, kept: Sequence[int], *, image_BI: Floats, text_BT: Floats) -> PairRecords:
    """The rows that were kept, beside their features."""
    pair_ids = records.pair_ids[np.asarray(kept, dtype=np.int64)]
    for name, features_BD in (("image", image_BI), ("text", text_BT)):
        finite_B = np.isfinite(features_BD).all(axis=1)
        if not finite_B.all():
            message = f"pair_id {pair_ids[~finite_B][0]}: the {name} encoder gave NaN or infinity"
            raise CorpusError(f"{message}; set precision to f32, or check the encoder's weights")
    labels = None if records.labels is None else [records.labels[row] for row in kept]
    return PairRecords(pair_ids, image_BI, text_BT, labels, [records.texts[row] for row in kept], [records.uris[row] for row in kept])
