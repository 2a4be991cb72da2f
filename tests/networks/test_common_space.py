import pytest
import torch

from xmr_ray.networks import TwoTower


@pytest.fixture(params=["own", "shared"])
def network(request, dims, statistics):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TwoTower(classifier=request.param).build(dims).eval()
    network.set_statistics(statistics)
    return network


def test_embeddings_are_unit_and_probabilities_of_one_modality(network, dims, features):
    image, text = features
    parts = network.embed(image, text)
    for embedding in parts[:2]:
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(9))
    for probability in parts[2:]:
        assert probability.shape == (9, 3)
        assert dims.multi_label or torch.allclose(probability.sum(dim=1), torch.ones(9))
    changed = network.embed(image, text + 1)
    assert torch.equal(parts[0], changed[0])
    assert torch.equal(parts[2], changed[2])
    assert not torch.equal(parts[1], changed[1])
    assert not torch.equal(parts[3], changed[3])


def test_rows_do_not_see_each_other(network, features):
    image, text = features
    whole = network.embed(image, text)
    alone = [torch.cat(parts) for parts in zip(*(network.embed(image[i : i + 1], text[i : i + 1]) for i in range(9)), strict=True)]
    for found, wanted in zip(whole, alone, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_embedding_is_the_shared_layer_of_the_tower(network, features):
    image, text = features
    hidden = torch.relu(network.image_tower[1](network.standardise_image(image)))
    common = hidden @ network.shared.weight.T + network.shared.bias
    outputs = network(image, text)
    torch.testing.assert_close(outputs.image_embedding_BD, common / common.norm(dim=1, keepdim=True))
    torch.testing.assert_close(outputs.image_shared_logits_BC, network.shared_classifier(common))
    if network.config.classifier == "own":
        torch.testing.assert_close(outputs.image_logits_BC, network.image_head(hidden))
    else:
        assert outputs.image_logits_BC is outputs.image_shared_logits_BC


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_embedding_gradient_is_scaled_into_the_towers(dims, features, share):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = TwoTower(embedding_gradient=1.0).build(dims).eval()
        network = TwoTower(embedding_gradient=share).build(dims).eval()
    network.load_state_dict(whole.state_dict())
    for one in (whole, network):
        one(*features).image_shared_logits_BC.square().sum().backward()
    expected, found = whole.image_tower[1].weight.grad, network.image_tower[1].weight.grad
    torch.testing.assert_close(torch.zeros_like(expected) if found is None else found, expected * share)
    torch.testing.assert_close(network.shared.weight.grad, whole.shared.weight.grad)
    assert expected.abs().sum() > 0
