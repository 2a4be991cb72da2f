"""MS-COCO as published: caption and instance files in JSON, images in folders, official or Karpathy-style splits."""

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.source import RawSource
from xmr_ray.errors import ReaderError
from xmr_ray.readers.lines import bytes_of
from xmr_ray.readers.raw_pairs import RawPair, raw_source
from xmr_ray.readers.splits import draw_split_of
from xmr_ray.types import Split

logger = logging.getLogger(__name__)

Paths = str | tuple[str, ...]
CAPTIONS_PER_IMAGE = 16
KARPATHY: Mapping[str, Split] = {"train": "train", "val": "validation", "test": "test"}
BULKY = ("segmentation", "bbox", "flickr_url", "tokens")


class _Image(NamedTuple):
    """An image of a caption file: the split of that file, the folder, its name there, and its captions by annotation id."""

    split: Split
    folder: str
    name: str
    captions: dict[int, str]


class MsCocoReader(Component):
    """Pairs by image, from `captions_*.json` and `instances_*.json`; the image of a pair is `images`/`file_name`.

    `captions` and `images` are one path for everything, or one (or several) per split; `instances` may be given in any of these ways,
    images are found in them by id. Where `split_file` (the layout of `dataset_coco.json`: `images` with `cocoid` and `split`) is given,
    it decides about splits and the keys of `captions` only say which files there are; `restval` says where its fourth part goes.
    `carve_validation` draws that many images from train by a hash of (`seed`, image id).

    Captions stand in the order of their annotation ids, with runs of blanks and line ends as one blank. `captions_as`: only the `first`,
    all of them `joined` by line ends, or a pair for `each`, whose id is image_id * 16 + number of the caption; otherwise `pair_id` is the
    image id. Classes are the categories in the order of their ids, which have gaps. Images without captions are left out, those without
    instances have no label and are left out with `drop_unlabelled`. Without `instances` there is no truth; `class_names` names the classes.
    """

    kind: Literal["ms_coco"] = "ms_coco"
    captions: str | Mapping[Split, Paths]
    images: str | Mapping[Split, Paths]
    instances: Paths | Mapping[Split, Paths] | None = None
    split_file: str | None = None
    restval: Literal["train", "validation", "test", "drop"] = "train"
    captions_as: Literal["first", "joined", "each"] = "joined"
    drop_unlabelled: bool = False
    carve_validation: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    class_names: tuple[str, ...] = ()
    source: str = "MS-COCO"

    def read(self) -> RawSource:
        """Read all annotations.

        Raises:
            ReaderError: a file is missing or not what it should be, files disagree, or a setting does not fit them.
        """
        images: dict[int, _Image] = {}
        for split, captions, folder in self._caption_files():
            _add_captions(images, captions, split=split, folder=folder)
        class_names, labels = self._labels(images)
        pairs = self._pairs(images, labels, self._splits(images, labels))
        paths = ("captions", "images", "instances", "split_file")
        return raw_source(self, pairs, class_names=class_names, multi_label=True, source=self.source, paths=paths)

    def _caption_files(self) -> list[tuple[Split, str, str]]:
        """Caption files with the split they stand for and the folder of their images."""
        captions: Mapping[Split, Paths] = {"train": self.captions} if isinstance(self.captions, str) else self.captions
        found: list[tuple[Split, str, str]] = []
        for split, paths in captions.items():
            files = _several(paths)
            folder = self.images if isinstance(self.images, str) else self.images.get(split, ())
            folders = _several(folder) * len(files) if isinstance(folder, str) else folder
            if len(folders) != len(files):
                raise ReaderError(
                    f"images gives {len(folders)} folders for the {len(files)} caption files of {split!r}; give one for each, or one for all"
                )
            found += [(split, path, folder) for path, folder in zip(files, folders, strict=True)]
        return found

    def _labels(self, images: Mapping[int, _Image]) -> tuple[tuple[str, ...], dict[int, set[int]] | None]:
        """Class names, and class numbers by image id (None without truth)."""
        given = self.instances
        paths = [path for value in given.values() for path in _several(value)] if isinstance(given, Mapping) else _several(given or ())
        if not paths:
            return self.class_names, None
        if self.class_names:
            raise ReaderError(f"{paths[0]}: names the classes itself; leave class_names out")
        names: tuple[str, ...] | None = None
        labels: dict[int, set[int]] = {}
        for path in dict.fromkeys(paths):
            names = _add_labels(labels, path, names=names)
        missing = len(images.keys() - labels.keys())
        logger.info("instances read files=%d classes=%d images_without_instances=%d", len(paths), len(names or ()), missing)
        return names or (), labels

    def _splits(self, images: Mapping[int, _Image], labels: Mapping[int, set[int]] | None) -> dict[int, Split]:
        """The split of every image that is kept."""
        if self.split_file is None:
            split_of = {image_id: image.split for image_id, image in images.items()}
        else:
            split_of = _karpathy(self.split_file, restval=self.restval)
            unknown = next((image_id for image_id in split_of if image_id not in images), None)
            if unknown is not None:
                raise ReaderError(f"{self.split_file}: image {unknown} is in no caption file; give the caption files of all parts in `captions`")
        left_out = {"in_no_split": 0, "without_caption": 0, "without_label": 0}
        for image_id, image in images.items():
            reason = "" if image_id in split_of else "in_no_split"
            reason = reason or ("" if image.captions else "without_caption")
            if reason or (self.drop_unlabelled and labels is not None and image_id not in labels):
                left_out[reason or "without_label"] += 1
                split_of.pop(image_id, None)
        logger.info("images read kept=%d %s", len(split_of), " ".join(f"{key}={number}" for key, number in left_out.items()))
        train = [image_id for image_id, split in split_of.items() if split == "train"]
        if self.carve_validation:
            split_of |= draw_split_of(train, {"validation": self.carve_validation}, seed=self.seed, where="carve_validation")
        return split_of

    def _pairs(self, images: Mapping[int, _Image], labels: Mapping[int, set[int]] | None, split_of: Mapping[int, Split]) -> Iterator[RawPair]:
        for image_id, image in images.items():
            if image_id not in split_of:
                continue
            captions = [image.captions[key] for key in sorted(image.captions)]
            found = None if labels is None else tuple(sorted(labels.get(image_id, ())))
            if self.captions_as == "each" and len(captions) > CAPTIONS_PER_IMAGE:
                raise ReaderError(f"image {image_id} has {len(captions)} captions, more than {CAPTIONS_PER_IMAGE}; set captions_as: joined")
            texts = captions if self.captions_as == "each" else captions[:1] if self.captions_as == "first" else ["\n".join(captions)]
            for k, text in enumerate(texts):
                pair_id = image_id * CAPTIONS_PER_IMAGE + k if self.captions_as == "each" else image_id
                yield RawPair(split_of[image_id], pair_id, text, image.folder, image.name, found)


def _several(paths: Paths) -> tuple[str, ...]:
    return (paths,) if isinstance(paths, str) else paths


def _load(path: str, *keys: str) -> dict[str, list[dict[str, Any]]]:
    """The lists `keys` of a JSON file, without what is bulky and not asked for."""

    def slim(found: dict[str, Any]) -> dict[str, Any]:
        for key in BULKY:
            found.pop(key, None)
        return found

    try:
        content = json.loads(bytes_of(path), object_hook=slim)
    except ValueError as error:
        raise ReaderError(f"{path}: not a JSON file ({error}); fetch it again") from error
    for key in keys:
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ReaderError(f"{path}: has no list {key!r} of objects; expected the layout of the published file")
    return content


def _value(row: Mapping[str, Any], key: str, kind: type, *, where: str) -> Any:
    value = row.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ReaderError(f"{where}: {key} is {value!r}, expected {kind.__name__}; correct or remove this entry")
    return value


def _add_captions(images: dict[int, _Image], path: str, *, split: Split, folder: str) -> None:
    content = _load(path, "images", "annotations")
    own: dict[int, _Image] = {}
    for number, row in enumerate(content["images"]):
        image_id = _value(row, "id", int, where=f"{path}: images[{number}]")
        if image_id in own or image_id in images:
            raise ReaderError(f"{path}: images[{number}]: image {image_id} is there twice; give every caption file once")
        own[image_id] = _Image(split, folder, _value(row, "file_name", str, where=f"{path}: images[{number}]"), {})
    for number, row in enumerate(content["annotations"]):
        where = f"{path}: annotations[{number}]"
        image_id = _value(row, "image_id", int, where=where)
        if image_id not in own:
            raise ReaderError(f"{where}: image_id {image_id} is not among the images of this file; fetch it again")
        if caption := " ".join(_value(row, "caption", str, where=where).split()):
            own[image_id].captions[_value(row, "id", int, where=where)] = caption
    images |= own


def _add_labels(labels: dict[int, set[int]], path: str, *, names: tuple[str, ...] | None) -> tuple[str, ...]:
    content = _load(path, "annotations", "categories")
    categories = sorted(content["categories"], key=lambda row: int(_value(row, "id", int, where=f"{path}: categories")))
    own_names = tuple(_value(row, "name", str, where=f"{path}: categories") for row in categories)
    if names is not None and own_names != names:
        raise ReaderError(f"{path}: its categories differ from those of the first instance file; give files of one release")
    number_of = {row["id"]: number for number, row in enumerate(categories)}
    for number, row in enumerate(content["annotations"]):
        where = f"{path}: annotations[{number}]"
        category = _value(row, "category_id", int, where=where)
        if category not in number_of:
            raise ReaderError(f"{where}: category_id {category} is not among the categories of this file; fetch it again")
        labels.setdefault(_value(row, "image_id", int, where=where), set()).add(number_of[category])
    return own_names


def _karpathy(path: str, *, restval: str) -> dict[int, Split]:
    found: dict[int, Split] = {}
    parts: dict[str, Any] = {**KARPATHY, "restval": restval}
    for number, row in enumerate(_load(path, "images")["images"]):
        where = f"{path}: images[{number}]"
        part = parts.get(_value(row, "split", str, where=where))
        if part is None:
            raise ReaderError(f"{where}: split is {row['split']!r}; expected {', '.join(parts)}")
        if part != "drop":
            found[_value(row, "cocoid", int, where=where)] = part
    return found
