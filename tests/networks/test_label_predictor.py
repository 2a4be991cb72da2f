import numpy as np
import pytest
import torch

from xmr_ray.networks import TwoBranch
from xmr_ray.networks.label_predictor import CentredPredictor, LabelLogits, fuse


def softmax(rows):
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(rows):
    return 1 / (1 + np.exp(-rows))


def renormalised(image_BC, text_BC, weight, *, multi_label):
    """`P ~ P_image^a P_text^(1-a)` over the classes, or over present and absent of each class."""
    if not multi_label:
        product = image_BC**weight * text_BC ** (1 - weight)
        return product / product.sum(axis=1, keepdims=True)
    present, absent = image_BC**weight * text_BC ** (1 - weight), (1 - image_BC) ** weight * (1 - text_BC) ** (1 - weight)
    return present / (present + absent)


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("fusion", ["weighted", "joint", "ensemble", "mean", "image", "text"])
def test_fusion_is_the_formula(fusion, multi_label):
    rng = np.random.default_rng(1)
    heads = [rng.normal(size=(5, 3)) for _ in range(3)]
    temperature, weight = np.array([2.0, 0.5, 3.0]), 0.3
    activate = sigmoid if multi_label else softmax
    image, text, joint = (activate(head / t) for head, t in zip(heads, temperature, strict=True))
    weighted = renormalised(image, text, weight, multi_label=multi_label)
    expected = {"weighted": weighted, "joint": joint, "ensemble": (weighted + joint) / 2, "mean": (image + text) / 2, "image": image, "text": text}
    logits = LabelLogits(*(torch.from_numpy(head) for head in heads))
    found = fuse(logits, fusion=fusion, temperature_3=torch.from_numpy(temperature), weight=weight, multi_label=multi_label)
    np.testing.assert_allclose(found.numpy(), expected[fusion], atol=1e-12)


def test_probabilities_of_a_row_do_not_depend_on_its_neighbours(dims, features, statistics):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TwoBranch().build(dims).eval()
    network.set_statistics(statistics)
    image, text = features
    whole = network.probabilities(image, text)
    alone = torch.cat([network.probabilities(image[i : i + 1], text[i : i + 1]) for i in range(len(image))])
    torch.testing.assert_close(whole, alone, atol=1e-6, rtol=0)
    assert whole.shape == (9, 3)
    assert ((whole > 0) & (whole < 1)).all()
    if not dims.multi_label:
        torch.testing.assert_close(whole.sum(dim=1), torch.ones(9))


def test_probabilities_use_the_stored_calibration(dims, features):
    network = TwoBranch(fusion="weighted").build(dims).eval()
    before = network.probabilities(*features)
    network.temperature_3.copy_(torch.tensor([4.0, 4.0, 1.0]))
    network.fusion_weight.copy_(torch.tensor(0.2))
    logits = network(*features)
    mixed = (0.2 * logits.image_BC + 0.8 * logits.text_BC) / 4
    torch.testing.assert_close(network.probabilities(*features), mixed.sigmoid() if dims.multi_label else mixed.softmax(dim=1))
    assert not torch.allclose(before, network.probabilities(*features))


def test_features_are_standardised_first(dims, features, statistics):
    network = TwoBranch().build(dims).eval()
    image, text = features
    mean_I, std_I, mean_T, std_T = (
        torch.from_numpy(getattr(statistics, name)) for name in ("image_mean_I", "image_std_I", "text_mean_T", "text_std_T")
    )
    expected = network((image - mean_I) / std_I, (text - mean_T) / std_T)
    network.set_statistics(statistics)
    for found, wanted in zip(network(image, text), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_each_branch_sees_its_modality_only(dims, features):
    network = TwoBranch().build(dims).eval()
    image, text = features
    one, other = network(image, text), network(image, text + 1)
    assert torch.equal(one.image_BC, other.image_BC)
    assert not torch.equal(one.text_BC, other.text_BC)
    assert not torch.equal(one.joint_BC, other.joint_BC)


def test_hidden_units_are_what_the_heads_read(dims, features, statistics):
    network = TwoBranch(hidden=5).build(dims).eval()
    network.set_statistics(statistics)
    image, text = (network.standardise_image(features[0]), network.standardise_text(features[1]))
    logits, hidden = network.with_hidden(*features)
    inputs = (image, text, torch.cat([image * 0.5, text], dim=1))
    for branch, values, units, head in zip((network.image_branch, network.text_branch, network.joint_branch), inputs, hidden, logits, strict=True):
        torch.testing.assert_close(units, torch.relu(values @ branch[1].weight.T + branch[1].bias))
        torch.testing.assert_close(head, units @ branch[4].weight.T + branch[4].bias)


def test_centres_learn_and_predict_nothing(dims, features):
    network = TwoBranch(hidden=5, dropout=0, input_dropout=0).build(dims)
    centred = CentredPredictor(network)
    logits, hidden, centres = centred(*features)
    for found, wanted in zip(logits, network(*features), strict=True):
        assert torch.equal(found, wanted)
    assert torch.equal(hidden[2], network.with_hidden(*features)[1][2])
    assert centres.shape == (3, 3, 5)
    assert "centres_3CH" in dict(centred.named_parameters())
    assert not any("centres" in name for name in network.state_dict())
