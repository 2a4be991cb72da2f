import pytest
import torch

from xmr_ray.encoders.precision import choose_precision, reduced
from xmr_ray.errors import ConfigError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_reduced_precision_is_for_gpus(precision):
    assert choose_precision(precision, GPU) == precision
    with pytest.raises(ConfigError, match=f"{precision} on a GPU only, not on cpu"):
        choose_precision(precision, CPU)


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "f16")])
def test_auto(native, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: native)
    assert choose_precision("auto", GPU) == expected
    assert choose_precision("auto", CPU) == choose_precision("f32", GPU) == "f32"


def test_products_are_reduced_inside_only():
    ones = torch.ones(2, 2)
    with reduced("bf16", CPU):
        assert (ones @ ones).dtype == torch.bfloat16
    with reduced("f32", CPU):
        assert (ones @ ones).dtype == torch.float32
