"""Text files of outside datasets: whole, line by line, or any lines of a file that is too big to be held."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmr_ray.errors import ReaderError, StorageError
from xmr_ray.storage import read_bytes, resolve, size_of

BLOCK_BYTES = 8 << 20
GAP_BYTES = 64 << 10


def bytes_of(path: str) -> bytes:
    """The whole file; raises `ReaderError` if there is no such file."""
    if size_of(path) is None:
        raise ReaderError(f"{path}: no such file; correct the paths in the reader's settings, or complete the download")
    return read_bytes(path)


def text_of(path: str, *, encoding: str = "utf-8-sig") -> str:
    """The whole file as text; raises `ReaderError` naming the first line that is not of this encoding."""
    data = bytes_of(path)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ReaderError(f"{path}: line {line} is not {encoding} ({error.reason}); set `encoding`, for example to latin-1") from error


def lines_of(path: str, *, encoding: str = "utf-8-sig") -> list[str]:
    """The lines of a file without blanks around them, whatever ends them; empty lines at the end do not count."""
    lines = [line.strip() for line in text_of(path, encoding=encoding).replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


@dataclass(frozen=True)
class LineFile:
    """A big text file whose lines are read by number (from 0): its path and where every line starts, with the end of the last one.

    It is small enough to travel to other processes, 8 bytes per line.
    """

    path: str
    offsets: NDArray[np.int64]

    @classmethod
    def open(cls, path: str) -> "LineFile":
        """Find the lines in one pass; empty lines at the end do not count. Raises `ReaderError` if there is no such file."""
        size = size_of(path)
        if size is None:
            raise ReaderError(f"{path}: no such file; correct the paths in the reader's settings, or complete the download")
        ends = [start + np.flatnonzero(block == ord("\n")) + 1 for start, block in _blocks(path)]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), *ends])
        if offsets[-1] != size:
            offsets = np.append(offsets, size)
        file = cls(path, offsets)
        while file.num_lines and not file.take([file.num_lines - 1])[0]:
            file = cls(path, file.offsets[:-1])
        return file

    @property
    def num_lines(self) -> int:
        """Number of lines."""
        return len(self.offsets) - 1

    def take(self, lines: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Some lines in the order asked for, without blanks around them; lines that lie close to each other are read together."""
        lines_B = np.asarray(lines, dtype=np.int64)
        order = np.argsort(lines_B, kind="stable")
        starts, ends = self.offsets[lines_B[order]], self.offsets[lines_B[order] + 1]
        apart = (starts[1:] - ends[:-1] > GAP_BYTES) | (ends[1:] // BLOCK_BYTES != ends[:-1] // BLOCK_BYTES)
        found = [b""] * len(lines_B)
        filesystem, inner = resolve(self.path)
        try:
            with filesystem.open_input_file(inner) as file:
                for run in np.split(np.arange(len(order)), np.flatnonzero(apart) + 1):
                    if not len(run):
                        continue
                    first = int(starts[run[0]])
                    piece = file.read_at(int(ends[run[-1]]) - first, first)
                    for i in run:
                        found[order[i]] = piece[starts[i] - first : ends[i] - first].strip()
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self.path}: cannot be read ({error})") from error
        return found

    def count(self, character: str) -> NDArray[np.int64]:
        """How often an ASCII character occurs in every line, in one pass."""
        counts = np.zeros(self.num_lines + 1, dtype=np.int64)
        for start, block in _blocks(self.path):
            lines = np.searchsorted(self.offsets, start + np.flatnonzero(block == ord(character)), side="right") - 1
            counts += np.bincount(lines, minlength=len(counts))
        return counts[:-1]

    def numbers(self, lines: Sequence[int] | NDArray[np.int64], *, width: int) -> NDArray[np.float32]:
        """Some lines of `width` numbers, separated by blanks, as (B, width) float32; raises `ReaderError` naming a line that is not such."""
        rows = self.take(lines)
        numbers_BW = np.empty((len(rows), width), dtype=np.float32)
        for i, row in enumerate(rows):
            values = row.split()
            if len(values) != width:
                raise ReaderError(f"{self.path}: line {lines[i] + 1} has {len(values)} numbers, expected {width} as in line 1; fetch the file again")
            try:
                numbers_BW[i] = values
            except ValueError as error:
                raise ReaderError(f"{self.path}: line {lines[i] + 1}: {error}; expected {width} numbers; fetch the file again") from error
        return numbers_BW


def _blocks(path: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    filesystem, inner = resolve(path)
    start = 0
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            while piece := stream.read(BLOCK_BYTES):
                yield start, np.frombuffer(piece, dtype=np.uint8)
                start += len(piece)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from error
