"""A pool in which half of the pairs lie in dense clumps of near-duplicates: who spends the budget on copies?"""

import numpy as np
import pytest

from xmr_ray.cluster.runner import experiment_path, run_experiment
from xmr_ray.config import validate
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import CHUNK_ROWS, SyntheticReader
from xmr_ray.runs.directory import RunDirectory

READER = SyntheticReader(
    num_train=3000, num_validation=0, num_test=200, image_dim=32, text_dim=24, num_classes=6, clump_share=0.5, num_clumps=12, seed=5
)


@pytest.mark.ray
@pytest.mark.slow
def test_entropy_buys_copies_and_ascmr_does_not(session, tmp_path):
    corpus = ingest(READER.read(), str(tmp_path / "corpus"))
    content = {
        "storage_path": str(tmp_path / "runs"),
        "corpus": {"path": corpus.path},
        "budget": {"total": 120, "seed_pairs": 40, "per_round": 80},
        "arms": {"entropy": {"strategy": {"kind": "entropy"}}, "ascmr": {"strategy": {"kind": "ascmr"}}},
        "training": {"label_predictor": {"steps": 100}, "common_space": {"steps": 100, "network": {"hidden": 128}}},
    }
    experiment = validate(content, where="test")
    run_experiment(experiment, on_round=lambda arm_run, state: None)
    known = [READER.latents("train", chunk) for chunk in range(-(-READER.num_train // CHUNK_ROWS))]
    clumps = dict(zip(*(np.concatenate([getattr(one, name) for one in known]).tolist() for name in ("pair_ids_B", "clumps_B")), strict=True))
    copies, largest = {}, {}
    for arm in content["arms"]:
        bought = RunDirectory(f"{experiment_path(experiment)}/{arm}-s0").round(1).read_selection().pair_ids_n
        counts = np.bincount([clumps[pair_id] for pair_id in bought.tolist() if clumps[pair_id] >= 0], minlength=READER.num_clumps)
        copies[arm], largest[arm] = int((counts - (counts > 0)).sum()), int(counts.max())
    # half of the pool lies in clumps, so an even purchase of 80 holds about 28 copies, at most ten of one clump
    assert copies["entropy"] > 50
    assert copies["ascmr"] < 36
    assert largest["entropy"] > 30
    assert largest["ascmr"] < 10
