"""Samples in a tar file of the webdataset layout: where their parts lie, found from the headers alone; nothing is ever extracted to disk."""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import ReaderError
from xmr_ray.storage import resolve

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
PARTS = ("image", "txt", "json")


@dataclass(frozen=True)
class TarShard:
    """A tar file with the complete samples in it: `offsets` and `sizes` (B, 3) of image, text and json in the file, -1 where there is none."""

    path: str
    keys: Sequence[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    num_incomplete: int

    def __len__(self) -> int:
        return len(self.keys)

    def parts(self, rows: Sequence[int], name: str) -> list[bytes | None]:
        """Bytes of the image, txt or json of some samples; None where a sample has none."""
        column = PARTS.index(name)
        found: list[bytes | None] = []
        filesystem, inner = resolve(self.path)
        with filesystem.open_input_file(inner) as file:
            for row in rows:
                offset, size = int(self.offsets[row, column]), int(self.sizes[row, column])
                if offset < 0:
                    found.append(None)
                    continue
                file.seek(offset)
                data = bytes(file.read(size))
                if len(data) != size:
                    raise ReaderError(f"{self.path}: sample {self.keys[row]!r} is cut short; the file changed while it was read")
                found.append(data)
        return found


def scan_tar(path: str, *, required: Sequence[str] = ("image", "txt")) -> TarShard:
    """Go through the headers of a tar file and group its members by key, the name up to the first dot of its last part.

    Samples without one of the `required` parts are left out and counted.

    Raises:
        ReaderError: the file is cut short or no tar file, or a member is a link or a device, leaves its folder, or is there twice.
    """
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    for member in _members(path):
        _check(member, path)
        name = PurePosixPath(member.name)
        stem, _, suffix = name.name.partition(".")
        part = "image" if suffix.lower() in IMAGE_SUFFIXES else suffix.lower()
        if not member.isfile() or part not in PARTS or not stem:
            continue
        sample = samples.setdefault(str(name.parent / stem), {})
        if part in sample:
            raise ReaderError(f"{path}: member {member.name!r}: sample {stem!r} has its {part} twice; write this shard again")
        sample[part] = (member.offset_data, member.size)
    complete = {key: sample for key, sample in samples.items() if all(part in sample for part in required)}
    places = np.array([[sample.get(part, (-1, -1)) for part in PARTS] for sample in complete.values()], dtype=np.int64).reshape(-1, len(PARTS), 2)
    return TarShard(path, tuple(complete), places[:, :, 0], places[:, :, 1], len(samples) - len(complete))


def _members(path: str) -> list[tarfile.TarInfo]:
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members = tar.getmembers()
            # where tarfile stops without a word: at a damaged header, or where the end-of-archive mark should be
            file.seek(tar.offset)
            mark = file.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise ReaderError(f"{path}: not a tar file, or cut short ({error}); download this shard again, and unpack it if it is compressed") from error
    if mark != bytes(tarfile.BLOCKSIZE):
        last = f" after member {members[-1].name!r}" if members else ""
        raise ReaderError(f"{path}: cut short or damaged{last}; download this shard again")
    return members


def _check(member: tarfile.TarInfo, path: str) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ReaderError(f"{path}: member {member.name!r} leaves its folder; do not trust this file")
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise ReaderError(f"{path}: member {member.name!r} is a link or a special file; expected plain files only")
