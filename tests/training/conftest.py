import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from xmr_ray.corpus.truth import open_truth
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.round import TrainingConfig, fit_round
from xmr_ray.training.rows import ResidentRows

QUICK = {
    "precision": "f32",
    "label_predictor": {"steps": 30, "checks": 3, "network": {"hidden": 16}, "batch_size": 64, "learning_rate": 0.01},
    "common_space": {"steps": 40, "network": {"hidden": 16, "common": 8}, "batch_size": 64, "learning_rate": 0.01},
}


def merged(base, changes):
    return {
        key: merged(base[key], changes[key]) if isinstance(base.get(key), dict) and key in changes else changes.get(key, base.get(key))
        for key in base | changes
    }


@pytest.fixture
def quick():
    """A configuration that fits the tiny corpora in half a second, with changes."""
    return lambda **changes: TrainingConfig.model_validate(merged(QUICK, changes))


@pytest.fixture
def buy():
    """`num` labels of the train split, chosen at random."""

    def bought(corpus, num, seed=0, split="train"):
        truth = open_truth(corpus, split)
        return truth.take(np.random.default_rng(seed).permutation(truth.pair_ids_L)[:num])

    return bought


@pytest.fixture
def fit(quick, buy):
    """One fit of a tiny corpus in this process."""

    def run(corpus, *, num=60, changes=None, rows=None, **arguments):
        settings = {"seed": 0, "round_index": 0, "bought": buy(corpus, num), **arguments}
        ranks = Ranks.single()
        rows = rows or ResidentRows(corpus, ranks=ranks, seed=0)
        return fit_round(quick(**(changes or {})), corpus=corpus, rows=rows, ranks=ranks, device=torch.device("cpu"), **settings)

    return run


@pytest.fixture
def weights():
    """All weights of a fit as one vector."""

    def vector(networks):
        parts = [*networks.label_predictor.state_dict().values(), *networks.common_space.state_dict().values()]
        return torch.cat([part.double().flatten() for part in parts])

    return vector


@pytest.fixture
def two_processes(tmp_path):
    """Runs a function of the test file in two processes of one gloo group on 127.0.0.1, and gives back what each returned."""

    def run(function, *arguments):
        call = {"file": function.__code__.co_filename, "name": function.__name__, "arguments": arguments}
        torch.save(call, tmp_path / "call.pt")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, str(Path(__file__).with_name("gloo_process.py")), str(tmp_path)]
        processes = [subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True) for rank in range(2)]
        errors = [process.communicate(timeout=100)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], errors
        return [torch.load(tmp_path / f"result-{rank}.pt", weights_only=False) for rank in range(2)]

    return run
