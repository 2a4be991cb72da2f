"""What of benchmarks/gpu_check.py needs no GPU: its verdict, what it compares, and what it says where there is none."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xmr_ray.config import expand, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "benchmarks" / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("second", "apart"), [(0.504, []), (0.496, []), (0.506, ["prob i2t"]), (0.494, ["prob i2t"]), (float("nan"), ["prob i2t"])])
def test_what_differs_by_more_than_the_tolerance_fails_and_so_does_what_is_no_number(check, second, apart):
    lines, found = check.compare({"prob i2t": 0.5, "prob t2i": 0.4}, {"prob i2t": second, "prob t2i": 0.4}, 0.005)
    assert found == apart
    assert len(lines) == 2


def test_both_sides_are_one_run_with_one_purchase_and_differ_in_the_device_alone(check, tmp_path):
    config = str(ROOT / "configs" / "quickstart.yaml")
    common = {"folder": str(tmp_path), "labels": 300}
    files = [check.one_purchase(config, ["scoring.batch_size=64"], side=f"s{gpu}", use_gpu=gpu, **common) for gpu in (False, True)]
    sides = [load(file) for file in files]
    assert [side.resources.use_gpu for side in sides] == [False, True]
    runs = [expand(side) for side in sides]
    assert [[run.purchases(3000) for run in found] for found in runs] == [[[300]], [[300]]]
    assert len({run.fingerprint("corpus") for found in runs for run in found}) == 1
    assert sides[0].scoring.batch_size == 64
    assert sides[0].training == load(config).training


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_does_not_pass():
    done = subprocess.run([sys.executable, "benchmarks/gpu_check.py"], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 3
    assert "no GPU that torch can use: nothing was run and nothing is compared" in done.stdout
