"""Whole-or-nothing writes, hashes and exclusive creation over `pyarrow.fs`.

Every path is a string that `pyarrow.fs` opens: a local path or a URI. On a local file system a file appears under its final name
only after its bytes have reached the disk (temporary name, fsync, rename).
"""

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from xmr_ray import object_store
from xmr_ray.errors import StorageError


def resolve(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI and the path within it; local paths become absolute."""
    if "://" in path:
        try:
            return fs.FileSystem.from_uri(path)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StorageError(f"{path}: no file system for this address ({error}); use a local path or a URI such as s3://bucket/key") from error
    return fs.LocalFileSystem(), str(Path(path).expanduser().absolute())


def absolute(path: str) -> str:
    """The path with which every process means the same file, wherever it works; URIs stay as they are.

    >>> absolute("s3://bucket/run")
    's3://bucket/run'
    """
    return path if "://" in path else str(Path(path).expanduser().absolute())


def is_local(path: str) -> bool:
    """Whether the path lies on a local file system."""
    return isinstance(resolve(path)[0], fs.LocalFileSystem)


def join(root: str, *parts: str) -> str:
    """Path of something below `root`.

    >>> join("s3://bucket/run/", "rounds", "000")
    's3://bucket/run/rounds/000'
    """
    return "/".join([root.rstrip("/"), *parts])


def exists(path: str) -> bool:
    """Whether a file or folder lies there."""
    filesystem, inner = resolve(path)
    return filesystem.get_file_info(inner).type != fs.FileType.NotFound


def size_of(path: str) -> int | None:
    """Bytes of a file, None if there is no such file."""
    filesystem, inner = resolve(path)
    info = filesystem.get_file_info(inner)
    return info.size if info.type == fs.FileType.File else None


def list_names(path: str, *, unfinished: bool = False) -> list[str]:
    """Sorted names in a folder, without unfinished files unless these are asked for; empty where there is no folder.

    Raises:
        StorageError: it cannot be listed.
    """
    filesystem, inner = resolve(path)
    try:
        found = filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True))
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be listed ({error})") from error
    return sorted(info.base_name for info in found if unfinished or ".part-" not in info.base_name)


def make_folder(path: str) -> None:
    """Create a folder with its parents; lawful if it exists. Raises `StorageError` if it cannot be created."""
    filesystem, inner = resolve(path)
    try:
        filesystem.create_dir(inner, recursive=True)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: folder cannot be created ({error}); free space or check permissions and start again") from error


def remove_folder(path: str) -> None:
    """Remove a folder and all it holds; lawful if it does not exist. Raises `StorageError` if it cannot be removed."""
    filesystem, inner = resolve(path)
    try:
        if filesystem.get_file_info(inner).type == fs.FileType.Directory:
            filesystem.delete_dir(inner)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be removed ({error}); check permissions and start again") from error


def remove_file(path: str) -> None:
    """Remove a file; lawful if it does not exist. Raises `StorageError` if it cannot be removed."""
    filesystem, inner = resolve(path)
    try:
        if filesystem.get_file_info(inner).type == fs.FileType.File:
            filesystem.delete_file(inner)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be removed ({error}); check permissions and start again") from error


def read_bytes(path: str) -> bytes:
    """The whole file; raises `StorageError` if it cannot be read."""
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            return bytes(stream.read())
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from error


def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file with its page checksums verified; raises `StorageError` if it cannot be read or lacks one of `columns`."""
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            present = file.schema_arrow.names
            if absent := [name for name in columns or [] if name not in present]:  # Arrow would leave them out without a word
                raise StorageError(f"{path}: has no column {absent[0]!r}; it holds {present}")
            return file.read(columns=columns, use_threads=False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # a damaged name of a column is no UTF-8
        raise StorageError(f"{path}: cannot be read as Parquet ({error})") from error


def write_whole(path: str, data: bytes) -> None:
    """Write a file whole or not at all, replacing an older one."""
    _commit(path, lambda temporary: _put(temporary, data))


def write_table(path: str, table: pa.Table, **options: Any) -> None:
    """Write a Parquet file (lz4, page checksums) whole or not at all, replacing an older one."""

    def put(temporary: str) -> None:
        filesystem, inner = resolve(temporary)
        pq.write_table(table, inner, filesystem=filesystem, **{"compression": "lz4", "write_page_checksum": True, **options})

    _commit(path, put)


def create_exclusive(path: str, data: bytes) -> bool:
    """Create a file that nobody else has created; False if it exists. Whole or not at all.

    Locally by `link(2)`, on an object store by a conditional write, where of creators with the very same bytes each hears True.
    """
    filesystem, inner = resolve(path)
    if not isinstance(filesystem, fs.LocalFileSystem):
        return object_store.create(path, data)
    make_folder(os.path.dirname(inner))
    temporary = _temporary(inner)
    try:
        _put(temporary, data)
        _sync(temporary)
        os.link(temporary, inner)
        _sync(os.path.dirname(inner))
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error})") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def digest_bytes(data: bytes) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: str) -> str:
    """SHA-256 of a file, in hex, read in pieces of 8 MiB."""
    filesystem, inner = resolve(path)
    digest = hashlib.sha256()
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            while piece := stream.read(8 << 20):
                digest.update(piece)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from error
    return digest.hexdigest()


def commit_file(temporary: str, path: str) -> None:
    """Give a finished temporary file its final name after fsync, replacing an older one."""
    filesystem, inner = resolve(path)
    _, inner_temporary = resolve(temporary)
    if isinstance(filesystem, fs.LocalFileSystem):
        _sync(inner_temporary)
        os.replace(inner_temporary, inner)
        _sync(os.path.dirname(inner))
    else:
        filesystem.move(inner_temporary, inner)


def temporary_name(path: str) -> str:
    """A name beside `path` that no listing shows."""
    return _temporary(path)


def _commit(path: str, put: Callable[[str], None]) -> None:
    temporary = _temporary(path)
    try:
        make_folder(os.path.dirname(path) or ".")
        put(temporary)
        commit_file(temporary, path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be written ({error}); nothing was replaced, free space or check permissions and start again") from error
    finally:
        _discard(temporary)


def _put(path: str, data: bytes) -> None:
    filesystem, inner = resolve(path)
    with filesystem.open_output_stream(inner, compression=None) as stream:
        stream.write(data)


def _temporary(path: str) -> str:
    return f"{path}.part-{uuid.uuid4().hex[:12]}"


def _discard(path: str) -> None:
    try:
        remove_file(path)
    except (OSError, pa.ArrowException, StorageError):  # the first error is the one to tell
        return


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
