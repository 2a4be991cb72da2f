"""Conditional writes of object stores, through obstore (an optional extra): create what nobody has created, replace what nobody has replaced.

`pyarrow.fs` opens the same addresses but has neither. Credentials and endpoints are those of the environment (`AWS_*`, `GOOGLE_*`).
"""

import functools
import importlib
from datetime import timedelta
from typing import Any, NamedTuple

from xmr_ray.errors import StorageError

RETRIES = 10
RETRY_TIME = timedelta(seconds=20)


Tag = dict[str, str]


class Tagged(NamedTuple):
    """Bytes of an object, and the tag that changes whenever they are written anew."""

    data: bytes
    tag: Tag


def create(url: str, data: bytes) -> bool:
    """Create an object that nobody else has created; False if it exists with other bytes. Whole or not at all.

    Of creators with the very same bytes each hears True (so does one whose first answer was lost): what has to be told apart names its maker.

    Raises:
        StorageError: the store does not answer, or has no conditional writes.
    """
    return _put(url, data, "create") is not None


def replace(url: str, data: bytes, tag: Tag) -> Tag | None:
    """Replace the object that was read with `tag`; the new tag, None if somebody has replaced or removed it since."""
    return _put(url, data, tag)


def read(url: str) -> Tagged | None:
    """An object and its tag, None if there is none."""
    obstore, (store, key) = _obstore(), _opened(url)
    try:
        found = obstore.get(store, key)
        return Tagged(bytes(found.bytes()), _tag(found.meta))
    except FileNotFoundError:
        return None
    except (obstore.exceptions.BaseError, OSError) as error:
        raise StorageError(f"{url}: cannot be read ({_first_line(error)})") from error


def _put(url: str, data: bytes, mode: str | Tag) -> Tag | None:
    obstore, (store, key) = _obstore(), _opened(url)
    try:
        return _tag(obstore.put(store, key, data, mode=mode, use_multipart=False))
    except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError, FileNotFoundError):
        found = read(url)
        return found.tag if found is not None and found.data == data else None
    except (obstore.exceptions.BaseError, OSError) as error:
        raise StorageError(f"{url}: cannot be written under a condition ({_first_line(error)}); nothing was replaced, start again") from error


def _tag(meta: Any) -> Tag:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name]}


def _obstore() -> Any:
    try:
        return importlib.import_module("obstore")
    except ImportError as error:
        raise StorageError("writing a run or a corpus to an object store needs conditional writes: pip install 'xmr-ray[object-store]'") from error


@functools.lru_cache
def _bucket(root: str) -> Any:
    """One store for each bucket; plain http only reaches an endpoint that the environment names with it."""
    options = {"client_options": {"allow_http": True}, "retry_config": {"max_retries": RETRIES, "retry_timeout": RETRY_TIME}}
    return importlib.import_module("obstore.store").from_url(root, **options)


def _opened(url: str) -> tuple[Any, str]:
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    try:
        return _bucket(f"{scheme}://{bucket}"), key
    except (ValueError, _obstore().exceptions.BaseError) as error:
        raise StorageError(f"{url}: no conditional writes at this address ({_first_line(error)}); use a local or NFS path, s3:// or gs://") from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
