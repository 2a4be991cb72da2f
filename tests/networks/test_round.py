import io
from dataclasses import replace

import pytest
import torch

from xmr_ray.errors import CheckpointError
from xmr_ray.networks import ResidualHeads, TwoBranch, TwoTower
from xmr_ray.networks.round import RoundNetworks


@pytest.fixture
def networks(dims, statistics):
    predictor, space = TwoBranch(hidden=8, fusion="weighted").build(dims), TwoTower(hidden=8, common=5, classifier="shared").build(dims)
    predictor.set_statistics(statistics)
    space.set_statistics(statistics)
    predictor.temperature_3.copy_(torch.tensor([1.5, 0.5, 2.0]))
    predictor.fusion_weight.copy_(torch.tensor(0.9))
    return RoundNetworks(predictor, space).eval()


def test_what_is_loaded_computes_the_same(networks, features, tmp_path):
    path = str(tmp_path / "deep" / "networks.pt")
    networks.save(path)
    loaded = RoundNetworks.load(path, torch.device("cpu"))
    assert torch.equal(loaded.label_predictor.probabilities(*features), networks.label_predictor.probabilities(*features))
    for found, wanted in zip(loaded.common_space.embed(*features), networks.common_space.embed(*features), strict=True):
        assert torch.equal(found, wanted)
    assert loaded.label_predictor.config == networks.label_predictor.config
    assert loaded.common_space.config == networks.common_space.config
    assert not loaded.label_predictor.training
    assert not loaded.common_space.training


@pytest.fixture
def with_heads(networks):
    heads = ResidualHeads(hidden=7, inter="disagreement").build(5)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return replace(networks, heads=heads).eval()


def test_heads_travel_with_the_networks(with_heads, features, tmp_path):
    path = str(tmp_path / "networks.pt")
    with_heads.save(path)
    loaded = RoundNetworks.load(path)
    embeddings = with_heads.common_space.embed(*features)[:2]
    pair, found = with_heads.heads(*embeddings), loaded.heads(*embeddings)
    assert all(torch.equal(one, other) for one, other in zip(pair, found, strict=True))
    assert torch.equal(loaded.heads.match_probability(found), with_heads.heads.match_probability(pair))
    assert loaded.heads.config == with_heads.heads.config
    assert not loaded.heads.training


def test_without_heads_nothing_of_them_is_saved(networks, tmp_path):
    path = tmp_path / "networks.pt"
    networks.save(str(path))
    assert set(content_of(path)) == {"format", "dims", "label_predictor", "common_space"}
    assert RoundNetworks.load(str(path)).heads is None


def test_heads_of_another_width_are_refused(with_heads, tmp_path):
    path = tmp_path / "networks.pt"
    with_heads.save(str(path))
    content = content_of(path)
    content["heads"]["embedding_dim"] = 6
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="do not fit"):
        RoundNetworks.load(str(path))


def test_saving_the_same_networks_twice_gives_the_same_bytes(networks, tmp_path):
    networks.save(str(tmp_path / "a"))
    networks.save(str(tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_loading_leaves_the_random_state(networks, tmp_path):
    networks.save(str(tmp_path / "n"))
    before = torch.get_rng_state()
    RoundNetworks.load(str(tmp_path / "n"))
    assert torch.equal(before, torch.get_rng_state())


def content_of(path):
    return torch.load(path, weights_only=True)


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def damage_text(path):
    path.write_text("not a checkpoint")


def damage_gone(path):
    path.unlink()


def damage_format(path):
    torch.save({**content_of(path), "format": 99}, path)


def damage_list(path):
    torch.save([1, 2], path)


def damage_weights(path):
    content = content_of(path)
    content["common_space"]["weights"].popitem()
    torch.save(content, path)


def damage_config(path):
    content = content_of(path)
    content["label_predictor"]["config"]["colour"] = "red"
    torch.save(content, path)


def damage_code(path):
    buffer = io.BytesIO()
    torch.save({"format": 1, "dims": RuntimeError}, buffer)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "damage", [damage_cut, damage_text, damage_gone, damage_format, damage_list, damage_weights, damage_config, damage_code], ids=lambda f: f.__name__
)
def test_an_unusable_file_is_named_with_what_to_do(networks, tmp_path, damage):
    path = tmp_path / "networks.pt"
    networks.save(str(path))
    damage(path)
    with pytest.raises(CheckpointError, match=r"(?s)networks\.pt.*remove the file and use `xmr-ray train`"):
        RoundNetworks.load(str(path))
