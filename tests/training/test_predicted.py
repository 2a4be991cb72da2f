import numpy as np
import pytest
import torch

from xmr_ray.networks import NetworkDims, TwoBranch, TwoTower
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
    teacher = TwoTower(hidden=8, common=4).build(dims)
    teacher.set_statistics(statistics)

    def make(limit=None, *, follow=None, remember=None):
        settings = TargetSettings(sharpness=1)
        found = Predicted(network, settings, bought, context, thresholds_C=None, entropy_limit=limit)
        if remember is not None:
            found.remember(remember)
        if follow is not None:
            found.follow(teacher.eval(), follow)
        return found

    make.teacher = teacher
    return make, network, bought


@pytest.mark.parametrize("follow", [False, True])
def test_remembered_and_streamed_targets_are_the_same_function(tiny_corpus, source, follow):
    make, _, _ = source
    resident = ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0)
    streamed = StreamedRows(lambda epoch: iter(tiny_corpus.descriptors("train")), tiny_corpus.read, ranks=Ranks.single(), seed=0)
    remembered, computed = (make(remember=rows, follow=rows if follow else None) for rows in (resident, streamed))
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


def test_after_the_first_fit_targets_are_the_mean_with_its_modalities_and_bought_labels_stay(tiny_corpus, source):
    make, network, bought = source
    rows = ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0)
    batch = next(rows.blocks(1000))
    found = make(follow=rows, remember=rows)(batch)
    known = bought.positions(batch.pair_ids_B) >= 0
    with torch.no_grad():
        image, text = (logits.double().numpy() for logits in make.teacher(batch.image_BI, batch.text_BT)[2:4])
        own = network.eval().probabilities(batch.image_BI, batch.text_BT).double().numpy()
    mean = own / 2 + (1 / (1 + np.exp(-image)) + 1 / (1 + np.exp(-text))) / 4
    assert np.array_equal(found.targets_BC[known], bought.dense(batch.pair_ids_B[known], num_classes=5))
    np.testing.assert_allclose(found.targets_BC[~known], mean[~known], atol=1e-6)
    assert (found.targets_BC - make()(batch).targets_BC).abs().max() > 0.01


@pytest.mark.parametrize("follow", [False, True])
def test_pairs_of_no_known_class_have_no_trust_unless_they_were_bought(tiny_corpus, source, follow):
    make, network, bought = source
    rows = ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0)
    batch = next(rows.blocks(1000))
    entropy = normalised_entropy(network.eval().probabilities(batch.image_BI, batch.text_BT), multi_label=True)
    limit = entropy.median().item()
    known, beyond = torch.from_numpy(bought.positions(batch.pair_ids_B) >= 0), entropy > limit
    found, plain = (make(limit, follow=rows if follow else None)(batch) for limit in (limit, None))
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
