from pathlib import Path

import numpy as np
import pytest

from xmr_ray.cluster.cells import fit_cells
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.scoring import cells
from xmr_ray.scoring.outputs import file_of

SETTINGS = {"num_cells": 20, "sample": 300, "space": "fused", "seed": 4, "round_index": 3}


@pytest.mark.ray
def test_every_train_pair_gets_the_cell_that_one_process_would_give_it(session, tiny_corpus, fused, all_points, read_columns):
    assert fit_cells(tiny_corpus, fused.root, **SETTINGS, version="networks") == 600
    ids, points = all_points
    chosen = hash_sample(ids, size=300, seed=4, round_index=3, purpose="cells")
    rows = np.argsort(ids)[np.searchsorted(np.sort(ids), chosen)]
    expected = cells.assign_cells(points, cells.fit_cells(points[rows], num_cells=20, seed=4, round_index=3))
    found = read_columns("cells")
    assert found["pair_id"].tolist() == tiny_corpus.pair_ids("train").tolist()
    np.testing.assert_array_equal(found["cell"], expected.cell_B)
    np.testing.assert_array_equal(found["signature"], expected.signature_B)
    np.testing.assert_allclose(found["centre_distance"], expected.centre_distance_B)


@pytest.mark.ray
def test_only_what_is_missing_is_written_again(session, tiny_corpus, fused, read_columns):
    fit_cells(tiny_corpus, fused.root, **SETTINGS, version="networks")
    before, centres = read_columns("cells"), Path(cells.centres_file(fused.root)).read_bytes()
    assert fit_cells(tiny_corpus, fused.root, **SETTINGS, version="networks") == 0
    Path(file_of(fused.root, "cells", fused.descriptors[2])).unlink()
    assert fit_cells(tiny_corpus, fused.root, **SETTINGS, version="networks") == fused.descriptors[2].num_rows
    after = read_columns("cells")
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert Path(cells.centres_file(fused.root)).read_bytes() == centres
    assert fit_cells(tiny_corpus, fused.root, **SETTINGS, version="other networks") == 600
    assert fit_cells(tiny_corpus, fused.root, **{**SETTINGS, "num_cells": 21}, version="other networks") == 600


def test_a_corpus_without_train_pairs_is_refused(tiny_corpus, monkeypatch, tmp_path):
    monkeypatch.setattr(type(tiny_corpus), "descriptors", lambda self, split: ())
    with pytest.raises(StrategyError, match="no train pairs"):
        fit_cells(tiny_corpus, str(tmp_path), **SETTINGS, version="networks")
