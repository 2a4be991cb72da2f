"""What an encoder has learnt from texts, as bytes: a list of terms and arrays, never a pickle."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import ConfigError

TERMS = "terms"


def pack(terms: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An npz file; equal contents give equal bytes."""
    out = io.BytesIO()
    encoded = np.frombuffer(json.dumps(list(terms), ensure_ascii=False).encode(), dtype=np.uint8)
    np.savez(out, **{TERMS: encoded}, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def unpack(state: bytes | None, *, kind: str) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """The inverse of `pack`; raises `ConfigError` if there is no state or it was not made by `pack`.

    >>> unpack(pack(["a", "b"], {"idf": np.ones(2)}), kind="tfidf")[0]
    ['a', 'b']
    """
    if state is None:
        raise ConfigError(f"encoder {kind!r} must be fitted on the train texts before it is built; no state was given")
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as stored:
            arrays = dict(stored)
        terms = json.loads(arrays.pop(TERMS).tobytes())
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"encoder {kind!r}: {len(state)} bytes of state cannot be read ({error}); fit it again") from error
    return terms, arrays
