from dataclasses import replace

import numpy as np
import pytest
import torch

from xmr_ray.errors import StrategyError
from xmr_ray.networks import ResidualHeads
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.scoring.informativeness import IMAGE_SHARE, PARTS, score_gaussians
from xmr_ray.scoring.scorer import PairScorer
from xmr_ray.scoring.uncertainty import MEASURES
from xmr_ray.types import PairBatch, narrow


@pytest.fixture
def scorer_of(raw_networks):
    def make(batch_size=1024):
        networks = RoundNetworks.load(raw_networks.path)
        return PairScorer(networks, multi_label=True, batch_size=batch_size, device=torch.device("cpu"))

    return make


def first_batch(corpus):
    return corpus.read(corpus.descriptors("train")[0])


def test_scores_equal_the_networks_applied_pair_by_pair(scorer_of, raw_networks, tiny_corpus):
    batch = first_batch(tiny_corpus)
    scored = scorer_of().score(batch)
    networks = RoundNetworks.load(raw_networks.path)
    for i in (0, 17, len(batch) - 1):
        image, text = torch.from_numpy(batch.images()[i : i + 1].copy()), torch.from_numpy(batch.texts()[i : i + 1].copy())
        with torch.no_grad():
            alone = networks.label_predictor.probabilities(image, text).numpy()
            towers = networks.common_space.embed(image, text)
        np.testing.assert_allclose(scored.probabilities_BC[i], alone[0], atol=1e-6)
        for name, value in zip(scored.towers, towers, strict=True):
            np.testing.assert_allclose(scored.towers[name][i], value[0].numpy(), atol=1e-5)
        for name, measure in MEASURES.items():
            assert scored.block.columns[name][i] == pytest.approx(measure(alone, multi_label=True)[0], abs=1e-5)
    assert scored.block.pair_ids_B.tolist() == batch.pair_ids_B.tolist()


def test_a_batch_that_does_not_fit_the_device_is_halved_and_the_scores_are_the_same(scorer_of, tiny_corpus, monkeypatch):
    batch, plain, seen = first_batch(tiny_corpus), PairScorer._forward, []

    def small_device(self, image_BI, text_BT):
        seen.append(len(image_BI))
        if len(image_BI) > 10:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, image_BI, text_BT)

    expected = scorer_of(batch_size=8).score(batch)
    monkeypatch.setattr(PairScorer, "_forward", small_device)
    found = scorer_of(batch_size=32).score(batch)
    assert seen[:3] == [32, 16, 8]
    assert found.block.columns["entropy"].tolist() == expected.block.columns["entropy"].tolist()
    assert found.probabilities_BC.tolist() == expected.probabilities_BC.tolist()


def test_a_pairs_score_does_not_depend_on_its_neighbours(scorer_of, tiny_corpus):
    batch = first_batch(tiny_corpus)
    whole, small = scorer_of().score(batch), scorer_of(batch_size=7).score(batch)
    np.testing.assert_allclose(whole.block.columns["entropy"], small.block.columns["entropy"], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("f16", 5e-3), ("bf16", 5e-2)])
def test_every_storage_type_of_features_is_understood(scorer_of, tiny_corpus, dtype, tolerance):
    batch = first_batch(tiny_corpus)
    stored = PairBatch(batch.pair_ids_B, narrow(batch.images(), dtype), narrow(batch.texts(), dtype), dtype, dtype)
    np.testing.assert_allclose(scorer_of().score(stored).probabilities_BC, scorer_of().score(batch).probabilities_BC, atol=tolerance)


def test_a_score_that_is_not_finite_names_its_pair(scorer_of, tiny_corpus):
    batch = first_batch(tiny_corpus)
    image = batch.images().copy()
    image[5, 0] = np.nan
    spoilt = PairBatch(batch.pair_ids_B, image, batch.texts(), "f32", "f32")
    with pytest.raises(StrategyError, match=rf"not finite at pair_id {batch.pair_ids_B[5]}"):
        scorer_of().score(spoilt)


@pytest.fixture
def headed_of(raw_networks):
    def make(batch_size=1024):
        networks = RoundNetworks.load(raw_networks.path)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            heads = ResidualHeads().build(networks.common_space.shared.out_features)
            for side in (heads.image, heads.text):
                torch.nn.init.normal_(side.log_variance.weight, std=0.2)
        return PairScorer(replace(networks, heads=heads), multi_label=True, batch_size=batch_size, device=torch.device("cpu")), heads

    return make


def test_heads_add_the_parts_of_informativeness_and_the_fused_mean(headed_of, scorer_of, tiny_corpus):
    batch = first_batch(tiny_corpus)
    (scorer, heads), plain = headed_of(), scorer_of().score(batch)
    scored = scorer.score(batch)
    towers = [torch.from_numpy(scored.towers[f"{side}_embedding"]) for side in ("image", "text")]
    expected = score_gaussians(heads.eval(), *towers)
    np.testing.assert_allclose(scored.block.columns["intra"], expected.intra_B, atol=1e-6)
    np.testing.assert_allclose(scored.block.columns["inter"], expected.inter_B, atol=1e-6)
    np.testing.assert_array_equal(scored.block.columns["class"], scored.block.columns["entropy"])
    np.testing.assert_allclose(scored.towers["fused_mean"], expected.fused_mean_BD, atol=1e-6)
    np.testing.assert_allclose(scored.block.columns[IMAGE_SHARE], expected.image_share_B, atol=1e-6)
    assert set(scored.block.columns) == {*MEASURES, *PARTS, IMAGE_SHARE}
    assert set(plain.block.columns) == {*MEASURES, "class"}
    assert set(scored.towers) - set(plain.towers) == {"fused_mean"}
    for name in MEASURES:
        np.testing.assert_array_equal(scored.block.columns[name], plain.block.columns[name])


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_parts_of_informativeness_do_not_depend_on_neighbours(headed_of, tiny_corpus, batch_size):
    batch = first_batch(tiny_corpus)
    whole, small = (headed_of(size)[0].score(batch) for size in (1024, batch_size))
    for name in PARTS:
        np.testing.assert_allclose(small.block.columns[name], whole.block.columns[name], atol=1e-6)
    np.testing.assert_allclose(small.towers["fused_mean"], whole.towers["fused_mean"], atol=1e-6)
    assert whole.block.columns["intra"].std() > 0.01
