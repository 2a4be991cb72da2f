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


def test_an_adversary_is_built_only_when_it_is_wanted_and_changes_no_other_weight(dims, features):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = TwoTower().build(dims)
        torch.manual_seed(0)
        network = TwoTower(adversarial_weight=0.1).build(dims)
    added = network.state_dict().keys() - plain.state_dict().keys()
    assert {name.split(".")[0] for name in added} == {"adversary"}
    assert all(torch.equal(network.state_dict()[name], value) for name, value in plain.state_dict().items())
    assert network(*features).image_modality_B.shape == (9,)
    assert plain(*features).image_modality_B is network.eval()(*features).image_modality_B is None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_adversary_learns_and_the_embedding_unlearns(dims, features, share):
    """Against the same network whose embeddings reach the classifier as they are."""
    config = TwoTower(adversarial_weight=0.1, dropout=0, input_dropout=0, embedding_gradient=share)
    network = config.build(dims)
    outputs = network(*features)
    (outputs.image_modality_B.square().sum() + 2 * outputs.text_modality_B.sum()).backward()
    found = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    outputs = network(*features)
    image, text = (network.adversary(part).squeeze(1) for part in (outputs.image_embedding_BD, outputs.text_embedding_BD))
    torch.testing.assert_close(network(*features).image_modality_B, image)
    (image.square().sum() + 2 * text.sum()).backward()
    expected = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    assert found.keys() == expected.keys()
    assert any(name.startswith("image_tower") for name in found) == (share > 0)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name] if name.startswith("adversary") else -expected[name])
    assert found["shared.weight"].abs().sum() > 0
