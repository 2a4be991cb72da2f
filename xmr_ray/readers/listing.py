"""Which files a path of a reader's settings means, and what tells them from other files without reading all of them."""

from collections.abc import Sequence
from fnmatch import fnmatch

import pyarrow as pa
from pyarrow import fs

from xmr_ray.errors import ReaderError, StorageError
from xmr_ray.storage import absolute, digest_bytes, join, list_names, resolve

SAMPLE_BYTES, NUM_SAMPLES = 64 << 10, 5


def files_at(path: str, *, suffixes: Sequence[str]) -> list[str]:
    """The file that lies at `path`; or the files of that folder, or those that match a pattern in its last part, sorted by name.

    They are absolute, or URIs: other processes read them, wherever they work.

    Raises:
        ReaderError: nothing lies there, or no file that ends in one of `suffixes`.
    """
    path = absolute(path)
    folder, _, pattern = path.rstrip("/").rpartition("/")
    if any(sign in pattern for sign in "*?["):
        found = [join(folder or ".", name) for name in list_names(folder or ".") if fnmatch(name, pattern)]
        if not found:
            raise ReaderError(f"{path}: no file matches this pattern; correct the path in the reader's settings")
        return found
    filesystem, inner = resolve(path)
    kind = filesystem.get_file_info(inner).type
    if kind == fs.FileType.NotFound:
        raise ReaderError(f"{path}: no such file or folder; correct the path in the reader's settings")
    if kind == fs.FileType.File:
        return [path]
    found = [join(path, name) for name in list_names(path) if name.lower().endswith(tuple(suffixes))]
    if not found:
        raise ReaderError(f"{path}: no {' or '.join(suffixes)} file in this folder")
    return found


def names_and_samples(paths: Sequence[str]) -> str:
    """Last part of each path with its file's bytes and the hash of pieces of it, one line each: the same wherever the files lie.

    Sizes alone would not do: features of another model in files of the same shape have the same number of bytes.
    """
    return "\n".join(f"{path.rsplit('/', 1)[-1]} {_sample(path)}" for path in paths)


def _sample(path: str) -> str:
    """Bytes of a file and the hash of its beginning, its end and places between; of all of it where it is small."""
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as file:
            size = file.size()
            last = max(0, size - SAMPLE_BYTES)
            starts = sorted({last * k // (NUM_SAMPLES - 1) for k in range(NUM_SAMPLES)})
            return f"{size} {digest_bytes(b''.join(file.read_at(SAMPLE_BYTES, start) for start in starts))}"
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from error
