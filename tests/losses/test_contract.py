"""What holds for every loss in the unions."""

from dataclasses import fields, replace
from typing import get_args

import pytest
import torch

from xmr_ray.losses import AnyLabelLoss, AnySpaceLoss, LabelRows, SpaceRows

LABEL_LOSSES = [kind() for kind in get_args(get_args(AnyLabelLoss)[0])]
SPACE_LOSSES = [kind() for kind in get_args(get_args(AnySpaceLoss)[0])]


def make_label_rows(num_rows, *, multi_label, seed=0):
    rng = torch.Generator().manual_seed(seed)
    logits = tuple(torch.randn(num_rows, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    targets, trust = torch.rand(2, num_rows, 4, generator=rng, dtype=torch.float64)
    if not multi_label:
        targets = targets / targets.sum(dim=1, keepdim=True)
    return LabelRows(logits, targets, trust, torch.ones(num_rows, dtype=torch.float64), multi_label=multi_label)


def make_space_rows(num_rows, *, multi_label, seed=0):
    rng = torch.Generator().manual_seed(seed)
    image, text = torch.nn.functional.normalize(torch.randn(2, num_rows, 5, generator=rng, dtype=torch.float64), dim=2)
    rows = make_label_rows(num_rows, multi_label=multi_label, seed=seed + 1)
    return SpaceRows(image, text, rows.targets_BC, rows.trust_BC, rows.weight_B, multi_label)


def pick(rows, at):
    """Some of the rows, in any order."""
    changed = {}
    for item in fields(rows):
        value = getattr(rows, item.name)
        if item.name == "heads":
            changed["heads"] = tuple(head[at] for head in value)
        elif isinstance(value, torch.Tensor) and item.name != "class_weight_C":
            changed[item.name] = value[at]
    return replace(rows, **changed)


def with_weight(rows, weight_B):
    return replace(rows, weight_B=weight_B)


def cases():
    for multi_label in (True, False):
        for loss in LABEL_LOSSES:
            yield loss, make_label_rows(7, multi_label=multi_label), lambda one, local, everyone: one.sums(local)
        for loss in SPACE_LOSSES:
            yield loss, make_space_rows(7, multi_label=multi_label), lambda one, local, everyone: one.sums(local, everyone)


CASES = [pytest.param(*case, id=f"{case[0].kind}-{i}") for i, case in enumerate(cases())]


def value(loss, rows, sums):
    total, mass = sums(loss, rows, rows)
    return total / mass


def inputs(rows):
    return list(rows.heads) if hasattr(rows, "heads") else [rows.image_embedding_BD, rows.text_embedding_BD]


def with_inputs(rows, values):
    return replace(rows, heads=tuple(values)) if hasattr(rows, "heads") else replace(rows, image_embedding_BD=values[0], text_embedding_BD=values[1])


@pytest.mark.parametrize(("loss", "rows", "sums"), CASES)
def test_rows_of_weight_zero_change_nothing(loss, rows, sums):
    weight_B = torch.tensor([1, 0, 1, 1, 0, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(value(loss, with_weight(rows, weight_B), sums), value(loss, pick(rows, [0, 2, 3, 5, 6]), sums))


@pytest.mark.parametrize(("loss", "rows", "sums"), CASES)
def test_gradient_is_finite_and_zero_for_padding(loss, rows, sums):
    leaves = [part.clone().requires_grad_() for part in inputs(rows)]
    weight_B = torch.tensor([1, 0, 1, 1, 0, 1, 1], dtype=torch.float64)
    value(loss, with_weight(with_inputs(rows, leaves), weight_B), sums).backward()
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad[[1, 4]].abs().sum() == 0
        assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize(("loss", "rows", "sums"), CASES)
def test_nothing_but_padding_gives_zero_and_a_finite_gradient(loss, rows, sums):
    leaves = [part.clone().requires_grad_() for part in inputs(rows)]
    total, mass = sums(loss, *[with_weight(with_inputs(rows, leaves), torch.zeros(7, dtype=torch.float64))] * 2)
    total.backward()
    assert total.item() == mass.item() == 0
    assert all(leaf.grad.abs().sum() == 0 for leaf in leaves)


@pytest.mark.parametrize(("loss", "rows", "sums"), CASES)
def test_the_order_of_rows_does_not_matter(loss, rows, sums):
    torch.testing.assert_close(value(loss, pick(rows, [4, 2, 6, 0, 1, 5, 3]), sums), value(loss, rows, sums))


@pytest.mark.parametrize(("loss", "rows", "sums"), CASES)
@pytest.mark.parametrize("parts", [[[0, 1, 2], [3, 4, 5, 6]], [[6], [0, 5], [1, 2, 3, 4]]])
def test_the_sum_over_ranks_is_the_whole(loss, rows, sums, parts):
    found = [sums(loss, pick(rows, part), rows) for part in parts]
    whole = sums(loss, rows, rows)
    torch.testing.assert_close(sum(part.total for part in found), whole.total)
    torch.testing.assert_close(sum(part.mass for part in found), whole.mass)


@pytest.mark.parametrize(("loss", "rows", "sums"), CASES)
def test_the_gradient_is_that_of_the_formula(loss, rows, sums):
    assert torch.autograd.gradcheck(
        lambda *parts: value(loss, with_inputs(rows, parts), sums), [part.clone().requires_grad_() for part in inputs(rows)]
    )
