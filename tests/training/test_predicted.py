import numpy as np
import pytest
import torch

from xmr_ray.networks import NetworkDims, TwoBranch
from xmr_ray.training.label_predictor import FitContext
from xmr_ray.training.open_set import normalised_entropy
from xmr_ray.training.predicted import Known, Predicted
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows, ResidentRows, StreamedRows
from xmr_ray.training.targets import TargetSettings


@pytest.fixture
def source(tiny_corpus, buy):
    statistics = tiny_corpus.statistics()
    dims = NetworkDims(image_dim=24, text_dim=16, num_classes=5, multi_label=True)
    context = FitContext(dims, statistics, Ranks.single(), torch.device("cpu"), "f32", 0, 0)
    network = TwoBranch(hidden=8).build(dims)
    network.set_statistics(statistics)
    bought = buy(tiny_corpus, 50)
    return (
        lambda limit=None: Predicted(network, TargetSettings(sharpness=1), bought, context, thresholds_C=None, entropy_limit=limit),
        network,
        bought,
    )


def test_remembered_and_streamed_targets_are_the_same_function(tiny_corpus, source):
    make, _, _ = source
    resident = ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0)
    streamed = StreamedRows(lambda epoch: iter(tiny_corpus.descriptors("train")), tiny_corpus.read, ranks=Ranks.single(), seed=0)
    remembered, computed = make(), make()
    remembered.remember(resident)
    computed.remember(streamed)
    by_id = {}
    for rows, targets in ((resident, remembered), (streamed, computed)):
        for batch in rows.epoch(0, 64):
            found = targets(batch)
            for i, pair_id in enumerate(batch.pair_ids_B):
                by_id.setdefault(int(pair_id), []).append((found.targets_BC[i], found.trust_BC[i]))
    assert len(by_id) == 600
    for (one, trust), (other, other_trust) in by_id.values():
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
        assert torch.equal(trust, other_trust)


def test_bought_rows_have_their_labels_and_the_others_their_probabilities(tiny_corpus, source):
    make, network, bought = source
    rows = ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0)
    batch = next(rows.blocks(1000))
    found = make()(batch)
    known = bought.positions(batch.pair_ids_B) >= 0
    assert known.sum() == 50
    assert np.array_equal(found.targets_BC[known], bought.dense(batch.pair_ids_B[known], num_classes=5))
    torch.testing.assert_close(found.targets_BC[~known], network.eval().probabilities(batch.image_BI, batch.text_BT)[~known], atol=1e-6, rtol=0)
    assert found.trust_BC[known].unique().tolist() == [1.0]
    assert found.trust_BC[~known].unique().tolist() == [0.5]


def test_pairs_of_no_known_class_have_no_trust_unless_they_were_bought(tiny_corpus, source):
    make, network, bought = source
    batch = next(ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0).blocks(1000))
    entropy = normalised_entropy(network.eval().probabilities(batch.image_BI, batch.text_BT), multi_label=True)
    limit = entropy.median().item()
    known, beyond = torch.from_numpy(bought.positions(batch.pair_ids_B) >= 0), entropy > limit
    found, plain = make(limit)(batch), make()(batch)
    assert (known & beyond).any()
    assert found.trust_BC[known].unique().tolist() == [1.0]
    assert found.trust_BC[~known & beyond].unique().tolist() == [0.0]
    assert torch.equal(found.trust_BC[~beyond], plain.trust_BC[~beyond])
    assert torch.equal(found.targets_BC, plain.targets_BC)


def test_a_rank_without_rows_can_still_ask(tiny_corpus, source):
    make, _, _ = source
    rows = ResidentRows(tiny_corpus, ranks=Ranks(49, 50), seed=0)
    targets = make()
    targets.remember(rows)
    batch = next(rows.epoch(0, 600))
    assert targets(batch).targets_BC.shape == (1, 5)


def test_known_labels_come_by_position():
    rows = HeldRows(np.array([5, 6, 7]), torch.zeros(3, 1), torch.zeros(3, 1), ranks=Ranks.single(), seed=0)
    found = Known(torch.eye(3))(rows.take(torch.tensor([2, 0])))
    assert found.targets_BC.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.trust_BC.unique().tolist() == [1.0]
