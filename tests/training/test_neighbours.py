import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from xmr_ray.geometry.features import feature_points
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.networks import NetworkDims, TwoBranch
from xmr_ray.training.label_predictor import FitContext
from xmr_ray.training.neighbours import COMPONENTS, NeighbourMean, sample_neighbours
from xmr_ray.training.predicted import Predicted
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows, ResidentRows, padding
from xmr_ray.training.targets import TargetSettings
from xmr_ray.types import FeatureStatistics

CPU = torch.device("cpu")


def flat(width):
    """Statistics that change nothing."""
    zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
    return FeatureStatistics(zeros, ones, zeros, ones)


@pytest.fixture
def stage(tiny_corpus, buy):
    """A label predictor that nobody trained, 50 bought labels, and every train row."""
    statistics = tiny_corpus.statistics()
    dims = NetworkDims(image_dim=24, text_dim=16, num_classes=5, multi_label=True)
    network = TwoBranch(hidden=8).build(dims).eval()
    network.set_statistics(statistics)
    context = FitContext(dims, statistics, Ranks.single(), CPU, "f32", 4, 2)
    batch = next(ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0).blocks(1000))
    return network, context, buy(tiny_corpus, 50), batch


def test_means_are_those_of_scikit_learn_over_the_sample_without_the_pair_itself(tiny_corpus, stage):
    network, context, bought, batch = stage
    settings = TargetSettings(neighbours=7, neighbour_weight=0.3, neighbour_sample=200)
    own = network.probabilities(batch.image_BI, batch.text_BT).detach()
    found = sample_neighbours(settings, tiny_corpus, network, bought, context)(batch, own)
    sample = hash_sample(tiny_corpus.pair_ids("train"), size=200, seed=4, round_index=2, purpose="neighbours")
    at = np.flatnonzero(np.isin(batch.pair_ids_B, sample))
    points = feature_points(batch.image_BI.numpy(), batch.text_BT.numpy(), context.statistics, components=COMPONENTS)
    known = bought.positions(batch.pair_ids_B) >= 0
    values = np.where(known[:, None], bought.dense(batch.pair_ids_B, num_classes=5), own.numpy())
    for i in range(0, 600, 7):
        others = at[at != i]
        mean = KNeighborsRegressor(7, algorithm="brute").fit(points[others], values[others]).predict(points[i : i + 1])[0]
        np.testing.assert_allclose(found[i].numpy(), 0.7 * own[i].numpy() + 0.3 * mean, atol=1e-5)


def test_a_small_sample_is_used_up_and_a_pair_alone_keeps_its_prediction():
    statistics = flat(2)
    rows = lambda ids: HeldRows(np.array(ids), torch.eye(2)[: len(ids)], torch.ones(len(ids), 2), ranks=Ranks.single(), seed=0)
    make = lambda ids, values: NeighbourMean(rows(ids), torch.tensor(values), statistics, neighbours=5, weight=0.5, device=CPU)
    two = rows([3, 9]).take(torch.arange(2))
    pair = make([3, 9], [[1.0], [0.0]])(two, torch.tensor([[0.5], [0.5]]))
    assert pair.tolist() == [[0.25], [0.75]], "each has the other alone"
    single = make([9], [[1.0]])(two, torch.tensor([[0.5], [0.5]]))
    assert single.tolist() == [[0.75], [0.5]], "the sampled pair has no neighbour"
    assert make([9], [[1.0]])(padding(2, 2, positions=True), torch.tensor([[0.25]])).tolist() == [[0.625]]


def test_nothing_is_sampled_without_neighbours_with_quantiles_of_own_predictions_and_where_all_is_bought(tiny_corpus, stage, buy):
    network, context, bought, _ = stage
    for settings in (TargetSettings(neighbours=0), TargetSettings(kind="class_prior")):
        assert sample_neighbours(settings, tiny_corpus, network, bought, context) is None
    assert sample_neighbours(TargetSettings(), tiny_corpus, network, buy(tiny_corpus, 600), context) is None
    assert sample_neighbours(TargetSettings(), tiny_corpus, network, buy(tiny_corpus, 599), context) is not None


def test_targets_hold_the_mean_and_bought_labels_stay(tiny_corpus, stage):
    network, context, bought, batch = stage
    settings = TargetSettings(sharpness=1)
    near = sample_neighbours(settings, tiny_corpus, network, bought, context)
    remembered, computed = (Predicted(network, settings, bought, context, thresholds_C=None, neighbours=near) for _ in range(2))
    remembered.remember(ResidentRows(tiny_corpus, ranks=Ranks.single(), seed=0))
    own = network.probabilities(batch.image_BI, batch.text_BT).detach()
    known = torch.from_numpy(bought.positions(batch.pair_ids_B) >= 0)
    for found in (remembered(batch), computed(batch)):
        torch.testing.assert_close(found.targets_BC[~known], near(batch, own)[~known], atol=1e-6, rtol=0)
        assert torch.equal(found.targets_BC[known], torch.from_numpy(bought.dense(batch.pair_ids_B[known.numpy()], num_classes=5)))
    assert (near(batch, own) - own).abs().mean() > 0.01


def test_neighbours_correct_predictions_of_clustered_pairs():
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 8, 2000)
    centres = rng.normal(size=(8, 40))
    features = torch.from_numpy((centres[cluster] + 0.3 * rng.normal(size=(2000, 40))).astype(np.float32))
    truth = torch.from_numpy((cluster[:, None] == np.arange(8)).astype(np.float32))
    noisy = truth + 0.6 * torch.from_numpy(rng.normal(size=(2000, 8)).astype(np.float32))
    statistics = flat(20)
    rows = HeldRows(np.arange(2000), features[:, :20], features[:, 20:], ranks=Ranks.single(), seed=0)
    mean = NeighbourMean(rows.subset(torch.arange(500)), noisy[:500], statistics, neighbours=10, weight=0.5, device=CPU)
    found = mean(rows.take(torch.arange(2000)), noisy)
    # half of an error of its own and half of the mean of ten others' errors, where all neighbours are of the same cluster
    assert (found - truth).square().mean().item() == pytest.approx(0.36 * (0.25 + 0.25 / 10), rel=0.1)
