"""In which precision encoders run: reduced on GPUs only."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from xmr_ray.errors import ConfigError

EncodingPrecision = Literal["auto", "f32", "bf16", "f16"]
_DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}


def choose_precision(precision: EncodingPrecision, device: torch.device) -> Literal["f32", "bf16", "f16"]:
    """`auto` is f32 on the CPU, and on a GPU bf16 where it is native, else f16; raises `ConfigError` for reduced precision on the CPU.

    >>> choose_precision("auto", torch.device("cpu"))
    'f32'
    """
    if device.type == "cuda":
        return ("bf16" if torch.cuda.is_bf16_supported() else "f16") if precision == "auto" else precision
    if precision in _DTYPES:
        raise ConfigError(f"encoders run in {precision} on a GPU only, not on {device.type}; set precision to auto or f32")
    return "f32"


def reduced(precision: Literal["f32", "bf16", "f16"], device: torch.device) -> AbstractContextManager[Any]:
    """Within it matrix products run in that precision."""
    return nullcontext() if precision == "f32" else torch.autocast(device.type, dtype=_DTYPES[precision])
