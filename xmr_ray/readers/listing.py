"""Which files a path of a reader's settings means, and what tells them from other files without reading them."""

from collections.abc import Sequence
from fnmatch import fnmatch

from pyarrow import fs

from xmr_ray.errors import ReaderError
from xmr_ray.storage import join, list_names, resolve, size_of


def files_at(path: str, *, suffixes: Sequence[str]) -> list[str]:
    """The file that lies at `path`; or the files of that folder, or those that match a pattern in its last part, sorted by name.

    Raises:
        ReaderError: nothing lies there, or no file that ends in one of `suffixes`.
    """
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


def names_and_sizes(paths: Sequence[str]) -> str:
    """Last part of each path with the bytes of its file, one line each: the same wherever the files lie."""
    return "\n".join(f"{path.rsplit('/', 1)[-1]} {size_of(path)}" for path in paths)
