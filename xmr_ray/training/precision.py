"""In which precision matrix products run."""

from typing import Literal

import torch

Precision = Literal["auto", "f32", "bf16"]


def choose_precision(precision: Precision, device: torch.device) -> Literal["f32", "bf16"]:
    """`auto` takes bf16 where the hardware multiplies it natively: CUDA, and CPUs with AVX-512 BF16 or AMX.

    A capability, not a timing, decides: the same machine answers the same every time. Elsewhere bf16 is emulated and slow.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "f32"
    found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bf16" if found.get("avx512_bf16") or found.get("amx_bf16") else "f32"
