import pytest
import torch

from xmr_ray.training.precision import choose_precision


@pytest.mark.parametrize("wanted", ["f32", "bf16"])
def test_a_stated_precision_is_taken(wanted):
    assert choose_precision(wanted, torch.device("cpu")) == wanted


@pytest.mark.parametrize(
    ("found", "chosen"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512_bf16": False, "avx2": True}, "f32"), ({}, "f32")]
)
def test_auto_asks_what_the_cpu_has(monkeypatch, found, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert choose_precision("auto", torch.device("cpu")) == chosen


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bf16"), (False, "f32")])
def test_auto_asks_what_cuda_has(monkeypatch, supported, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert choose_precision("auto", torch.device("cuda")) == chosen
