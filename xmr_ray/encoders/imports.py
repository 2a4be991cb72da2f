"""Libraries that only some encoders need, imported when such an encoder is built."""

import importlib
from typing import Any

from xmr_ray.errors import ConfigError


def required(module: str, *, kind: str, extra: str) -> Any:
    """The module; raises `ConfigError` with the pip command where it cannot be imported.

    A library that was compiled for another torch fails with `RuntimeError` or `OSError`, so these count too.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError) as error:
        command = f"pip install 'xmr-ray[{extra}]'"
        raise ConfigError(f"encoder {kind!r} needs {module}, which cannot be imported ({error}); {command}, in a version that fits torch") from error
