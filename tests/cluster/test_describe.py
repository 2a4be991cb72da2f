import json

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.cluster.describe import DescribeJob, bought_by_round, describe_purchase, describe_purchase_remotely
from xmr_ray.errors import StorageError
from xmr_ray.labels.annotators import Answers
from xmr_ray.labels.ledger import write_receipt
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.scoring.informativeness import IMAGE_SHARE
from xmr_ray.scoring.outputs import EMBEDDINGS, FUSED_MEAN, ScoredPairs, write_scored
from xmr_ray.scoring.points import write_columns
from xmr_ray.types import LabelSet, ScoreBlock, Selection

NUM_CELLS = 7


def cell_of(pair_ids):
    return (pair_ids * 2654435761 % 2**32 % NUM_CELLS).astype(np.int32)


def fused_of(pair_ids):
    """Points of which everybody can say where they lie."""
    return np.stack([np.sin(pair_ids), np.cos(3 * pair_ids) / 2, pair_ids % 5 / 10], axis=1).astype(np.float32)


def intra_of(pair_ids):
    return np.cos(pair_ids)


def write_scores(corpus, root, *, heads):
    """What scoring leaves behind, made from the ids alone."""
    for descriptor in corpus.descriptors("train"):
        ids = corpus.read_ids(descriptor)
        towers = {name: np.ones((len(ids), 3), np.float32) for name in EMBEDDINGS}
        towers |= {"image_embedding": fused_of(ids) + np.float32(0.5), "text_embedding": fused_of(ids) - np.float32(0.5)}
        if heads:
            towers[FUSED_MEAN] = fused_of(ids)
        columns = {"entropy": np.sin(ids), "intra": intra_of(ids)} | ({IMAGE_SHARE: np.square(np.sin(ids))} if heads else {})
        probabilities = np.full((len(ids), corpus.schema.num_classes), 0.2, np.float32)
        write_scored(root, descriptor, ScoredPairs(ScoreBlock(ids, columns), probabilities, towers), dtype="f32", version="v")
        cells = {"cell": cell_of(ids), "centre_distance": np.zeros(len(ids)), "signature": np.zeros(len(ids), np.int32)}
        write_columns(root, "cells", descriptor, ids, cells, version="v")


@pytest.fixture
def run(tiny_corpus, tmp_path):
    """A run that bought 20 pairs in round 0 and 10 in round 1, and is about to buy 12."""
    directory = RunDirectory(str(tmp_path / "run"))
    ids = np.random.default_rng(0).permutation(tiny_corpus.pair_ids("train"))
    for index, bought in enumerate((ids[:20], ids[20:30])):
        labels = LabelSet.of(bought[1:], [[int(pair_id) % 2] for pair_id in bought[1:]])
        write_receipt(directory.round(index).receipt, Answers(labels, bought[:1]))
    return directory, ids[30:42]


def options(run, *, reasons=("intra", "cell")):
    directory, batch = run
    receipts = bought_by_round(directory, before=2)
    labelled = [pair_id for ids in receipts.values() for pair_id in ids.tolist()][2:]
    bought = LabelSet.of(labelled, [[pair_id % 2] for pair_id in labelled])
    selection = Selection(batch, np.zeros(len(batch)), {name: np.zeros(len(batch)) for name in reasons})
    return {"selection": selection, "receipts": receipts, "bought": bought, "seed": 4}


def read(place):
    return json.loads(storage.read_bytes(place.diagnostics)), storage.read_table(place.space)


def test_receipts_tell_what_was_bought_in_which_round(run):
    directory, _ = run
    receipts = bought_by_round(directory, before=2)
    assert {index: len(ids) for index, ids in receipts.items()} == {0: 20, 1: 10}
    assert bought_by_round(directory, before=0) == {}


def test_numbers_and_picture_are_those_of_the_right_pairs(tiny_corpus, run, tmp_path):
    write_scores(tiny_corpus, str(tmp_path / "scored"), heads=True)
    place = run[0].round(2)
    described = options(run)
    describe_purchase(DescribeJob(tiny_corpus, str(tmp_path / "scored"), place, **described))
    numbers, table = read(place)
    batch, held = run[1], np.concatenate([run[1], *described["receipts"].values()])
    everybody = tiny_corpus.pair_ids("train")
    p, pi = (np.bincount(cell_of(ids), minlength=NUM_CELLS) / len(ids) for ids in (held, everybody))
    assert numbers["kl"] == pytest.approx(sum(a * np.log(a / b) for a, b in zip(p, pi, strict=True) if a > 0))
    pool = np.setdiff1d(everybody, held)
    assert numbers["z_intra"] == pytest.approx((intra_of(batch).mean() - intra_of(pool).mean()) / intra_of(pool).std())
    assert numbers["image_share"] == pytest.approx(np.square(np.sin(batch)).mean())
    assert numbers["pool_image_share"] == pytest.approx(np.square(np.sin(pool)).mean())
    assert (numbers["share_intra"], numbers["space"], numbers["cells_touched"]) == (1.0, "fused", len(set(cell_of(batch).tolist())))
    labels = np.bincount(described["bought"].classes, minlength=5)
    assert numbers["label_distance"] == pytest.approx(np.abs(labels / labels.sum() - 0.2).sum() / 2)
    rounds = dict(zip(table["pair_id"].to_pylist(), table["round"].to_pylist(), strict=True))
    expected = dict.fromkeys(everybody.tolist(), -1) | {int(i): k for k, ids in described["receipts"].items() for i in ids}
    assert rounds == expected | dict.fromkeys(batch.tolist(), 2)
    centred = fused_of(pool).astype(np.float64) - fused_of(pool).mean(axis=0)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    assert numbers["variance_shown"] == pytest.approx(variances[:2].sum() / variances.sum(), abs=1e-6)


def test_without_heads_a_pair_lies_between_its_embeddings_and_parts_that_decided_nothing_are_left_out(tiny_corpus, run, tmp_path):
    found = []
    for heads in (True, False):
        root, place = str(tmp_path / f"scored{heads}"), run[0].round(2)
        write_scores(tiny_corpus, root, heads=heads)
        describe_purchase(DescribeJob(tiny_corpus, root, place, **options(run, reasons=("entropy", "cell"))))
        found.append(read(place))
    assert [numbers.pop("space") for numbers, _ in found] == ["fused", "embedding"]
    assert {found[0][0].pop(f"{whose}image_share") is not None for whose in ("", "pool_")} == {True}, "only heads tell it"
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert not any(name.startswith(("z_", "share_")) for name in found[0][0])
    np.testing.assert_allclose(found[0][1]["x"].to_numpy(), found[1][1]["x"].to_numpy(), atol=1e-5)


def test_done_twice_it_is_the_same(tiny_corpus, run, tmp_path):
    write_scores(tiny_corpus, str(tmp_path / "scored"), heads=True)
    place, written = run[0].round(2), []
    for _ in range(2):
        describe_purchase(DescribeJob(tiny_corpus, str(tmp_path / "scored"), place, **options(run)))
        written.append((storage.read_bytes(place.diagnostics), storage.read_bytes(place.space)))
    assert written[0] == written[1]


@pytest.mark.ray
def test_a_task_writes_the_same_and_its_errors_are_our_own(session, tiny_corpus, run, tmp_path):
    root = str(tmp_path / "scored")
    write_scores(tiny_corpus, root, heads=True)
    places = [RunDirectory(str(tmp_path / name)).round(2) for name in ("near", "far")]
    for place, do in zip(places, (describe_purchase, describe_purchase_remotely), strict=True):
        do(DescribeJob(tiny_corpus, root, place, **options(run), weights={"intra": 1.0}))
    assert storage.read_bytes(places[0].diagnostics) == storage.read_bytes(places[1].diagnostics)
    assert storage.read_bytes(places[0].space) == storage.read_bytes(places[1].space)
    storage.remove_folder(storage.join(root, "cells"))
    with pytest.raises(StorageError, match="cells"):
        describe_purchase_remotely(DescribeJob(tiny_corpus, root, places[1], **options(run)))
