import math

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.errors import CheckpointError
from xmr_ray.losses import SampledMatch
from xmr_ray.networks import NetworkDims, ResidualHeads, TwoTower
from xmr_ray.training.gaussian import HeadSettings, _start_logits, fit_heads, fit_on_embeddings
from xmr_ray.training.label_predictor import FitContext
from xmr_ray.training.ranks import Ranks

pytestmark = pytest.mark.slow


def silent(numbers):
    return None


def context_of(corpus=None, *, ranks=None, seed=0):
    dims = NetworkDims(image_dim=24, text_dim=16, num_classes=5, multi_label=True)
    statistics = None if corpus is None else corpus.statistics()
    return FitContext(dims, statistics, ranks or Ranks.single(), torch.device("cpu"), "f32", seed, 0)


def noisy_pairs(*, low, high, num_pairs=1800, width=48, latent=8, seed=0):
    """Unit embeddings of pairs around points of a curved surface; half of the pairs, at random, have `high` noise in both modalities."""
    rng = torch.Generator().manual_seed(seed)
    into, out = torch.randn(latent, 4 * latent, generator=rng), torch.randn(4 * latent, width, generator=rng)
    points = torch.nn.functional.normalize(torch.tanh(torch.randn(num_pairs, latent, generator=rng) @ into / latent**0.5) @ out, dim=1)
    noisy = torch.rand(num_pairs, generator=rng) < 0.5
    scale = torch.where(noisy, high, low)[:, None] * width**-0.5
    image, text = (torch.nn.functional.normalize(points + scale * torch.randn(num_pairs, width, generator=rng), dim=1) for _ in range(2))
    return image, text, noisy.numpy()


def area(scores, positive):
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order."""
    ranks = rankdata(scores)
    num = positive.sum()
    return (ranks[positive].sum() - num * (num + 1) / 2) / (num * (~positive).sum())


def scores(heads, image, text):
    with torch.no_grad():
        pair = heads(image, text)
        return (pair.image_variance_BD + pair.text_variance_BD).sum(dim=1).numpy(), 1 - heads.match_probability(pair).numpy()


@pytest.fixture(scope="module")
def learnt():
    image, text, noisy = noisy_pairs(low=0.3, high=1.2)
    told = []
    heads = fit_on_embeddings(HeadSettings(), image[:1200], text[:1200], context_of(), on_epoch=told.append)
    return heads, told, (image[1200:], text[1200:], noisy[1200:])


def test_mismatched_pairs_are_told_from_matched_ones(learnt):
    heads, _, (image, text, _) = learnt
    matched, mismatched = scores(heads, image, text)[1], scores(heads, image, text.roll(1, dims=0))[1]
    assert area(np.concatenate([matched, mismatched]), np.repeat([False, True], len(image))) > 0.97
    assert mismatched.mean() > matched.mean() + 0.3


def test_shuffling_the_texts_of_some_pairs_raises_inter_of_these_pairs_only(learnt):
    heads, _, (image, text, _) = learnt
    shuffled = text.clone()
    shuffled[:50] = text[:50].roll(1, dims=0)
    before, after = scores(heads, image, text)[1], scores(heads, image, shuffled)[1]
    assert (after[:50] - before[:50]).mean() > 0.3
    np.testing.assert_allclose(after[50:], before[50:], atol=1e-6)


def test_noisy_pairs_are_more_uncertain(learnt):
    heads, _, (image, text, noisy) = learnt
    intra, inter = scores(heads, image, text)
    assert area(intra, noisy) > 0.9
    assert area(inter, noisy) > 0.9


def test_the_match_loss_alone_makes_noisy_pairs_look_certain():
    """Why the likelihood is in the loss: without it a variance is the offset of a row, which falls where a pair lies far apart."""
    image, text, noisy = noisy_pairs(low=0.3, high=1.2)
    heads = fit_on_embeddings(HeadSettings(steps=150, likelihood_weight=0), image[:1200], text[:1200], context_of(), on_epoch=silent)
    assert area(scores(heads, image[1200:], text[1200:])[0], noisy[1200:]) < 0.4


def test_every_term_is_told_and_the_match_loss_falls(learnt):
    _, told, _ = learnt
    assert told[-1]["step"] == 300
    assert {"stage", "step", "match", "prior", "wasserstein", "likelihood"} == set(told[0])
    assert told[-1]["match"] < 0.7 * told[0]["match"]
    assert told[-1]["likelihood"] < told[0]["likelihood"]


def test_start_of_slope_and_offset_is_that_of_a_logistic_regression():
    image, text, _ = noisy_pairs(low=1.0, high=3.0, num_pairs=120)
    heads = ResidualHeads().build(48).eval()
    _start_logits(heads, image, text)
    distances = (torch.cdist(image.double(), text.double()).square() + 0.2).numpy()
    peer = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(distances.reshape(-1, 1), np.eye(120).reshape(-1))
    assert heads.slope.item() == pytest.approx(-peer.coef_[0, 0], rel=0.05)
    assert heads.offset.item() == pytest.approx(peer.intercept_[0], rel=0.05, abs=0.1)


@pytest.mark.parametrize("alike", [True, False])
def test_start_stays_finite_where_logits_could_run_away(alike):
    text = torch.eye(20)[:1].repeat(20, 1) if alike else torch.eye(20)
    heads = ResidualHeads().build(20).eval()
    _start_logits(heads, text.clone(), text)
    assert 1e-4 < heads.slope.item() < 1e4
    assert abs(heads.offset.item()) < 1e4


def test_random_draws_teach_the_same_order():
    image, text, _ = noisy_pairs(low=0.3, high=1.2)
    settings = HeadSettings(steps=40, batch_size=64, loss=SampledMatch(num_draws=3))
    heads = fit_on_embeddings(settings, image[:1200], text[:1200], context_of(), on_epoch=silent)
    image, text = image[1200:], text[1200:]
    matched, mismatched = scores(heads, image, text)[1], scores(heads, image, text.roll(1, dims=0))[1]
    assert area(np.concatenate([matched, mismatched]), np.repeat([False, True], len(image))) > 0.97


def small(**changes):
    return HeadSettings(**{"steps": 12, "batch_size": 64, "sample": 200, "network": {"hidden": 16}, **changes})


def space_of(corpus):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        space = TwoTower(hidden=32, common=12).build(NetworkDims(image_dim=24, text_dim=16, num_classes=5, multi_label=True))
    space.set_statistics(corpus.statistics())
    return space.eval()


def vector(heads):
    return torch.cat([part.double().flatten() for part in heads.state_dict().values()])


def test_same_arguments_same_heads_and_nothing_else_changes(tiny_corpus):
    space, state = space_of(tiny_corpus), torch.get_rng_state()
    before = {name: value.clone() for name, value in space.state_dict().items()}
    one, two, other = (fit_heads(small(), tiny_corpus, space, context_of(tiny_corpus, seed=seed), on_epoch=silent) for seed in (0, 0, 1))
    assert torch.equal(vector(one), vector(two))
    assert not torch.equal(vector(one), vector(other))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in space.state_dict().items())
    assert all(parameter.grad is None for parameter in space.parameters())
    assert not one.training


@pytest.mark.parametrize("size", [2, 3, 65])
def test_a_small_sample_is_enough_to_go_on(tiny_corpus, size):
    heads = fit_heads(small(sample=size), tiny_corpus, space_of(tiny_corpus), context_of(tiny_corpus), on_epoch=silent)
    assert torch.isfinite(vector(heads)).all()


def test_a_warm_fit_starts_from_the_heads_before(tiny_corpus):
    space, context = space_of(tiny_corpus), context_of(tiny_corpus)
    before = fit_heads(small(), tiny_corpus, space, context, on_epoch=silent)
    still = small(learning_rate=1e-12)
    warm = fit_heads(still, tiny_corpus, space, context, on_epoch=silent, previous=before)
    assert torch.allclose(vector(warm), vector(before), atol=1e-6)
    assert not torch.allclose(vector(fit_heads(still, tiny_corpus, space, context, on_epoch=silent)), vector(before), atol=1e-3)
    with pytest.raises(CheckpointError, match="do not fit"):
        fit_heads(small(network={"hidden": 17}), tiny_corpus, space, context, on_epoch=silent, previous=before)


def test_every_weight_learns(tiny_corpus):
    space, context = space_of(tiny_corpus), context_of(tiny_corpus)
    one, other = (fit_heads(small(steps=steps), tiny_corpus, space, context, on_epoch=silent).state_dict() for steps in (2, 12))
    assert [name for name, value in one.items() if "centre" not in name and "scale" not in name and torch.equal(value, other[name])] == []


def heads_of_this_rank(path):
    """Runs in each of two processes and in the test's own."""
    corpus, ranks = PairedCorpus.open(path), Ranks.current()
    return vector(fit_heads(small(), corpus, space_of(corpus), context_of(corpus, ranks=ranks), on_epoch=silent))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_two_processes_give_the_heads_of_one(tiny_corpus, two_processes):
    alone = heads_of_this_rank(tiny_corpus.path)
    found = two_processes(heads_of_this_rank, tiny_corpus.path)
    assert torch.equal(found[0], found[1])
    assert (found[0] - alone).abs().max() < 1e-5
    assert math.isfinite(float(alone.sum()))


def test_a_long_common_mean_of_all_embeddings_costs_the_trunks_no_units():
    rng = torch.Generator().manual_seed(4)
    points = torch.randn(1500, 10, generator=rng)
    image, text = (points @ torch.randn(10, 64, generator=rng) + 3 * torch.randn(1500, 64, generator=rng) for _ in range(2))
    text = image + 2 * torch.randn(1500, 64, generator=rng)
    common = 20 * torch.randn(64, generator=rng).sign()
    image, text = (torch.nn.functional.normalize(side + common, dim=1) for side in (image, text))
    assert image.mean(dim=0).norm() > 0.9
    heads = fit_on_embeddings(HeadSettings(steps=200), image[:1200], text[:1200], context_of(), on_epoch=silent)
    with torch.inference_mode():
        for head, side in ((heads.image, image), (heads.text, text)):
            alive = (head.trunk((side[1200:] - head.centre_D) * head.scale) > 0).any(dim=0)
            assert alive.float().mean() > 0.95
        right = heads.match_probability(heads(image[1200:], text[1200:]))
        wrong = heads.match_probability(heads(image[1200:], text[1200:].roll(1, dims=0)))
    assert (right[:, None] > wrong[None]).float().mean() > 0.9
