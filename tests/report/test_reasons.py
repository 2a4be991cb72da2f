import numpy as np
import pytest

from xmr_ray.report.reasons import explain, meanings
from xmr_ray.types import Selection

CELL = {"cell": 12.0, "cell_density": 0.0306, "cell_share": 0.04, "cell_bought": 2.0, "cell_budget": 5.0}


def selection(utility=(0.7, 0.2), **reasons):
    return Selection(np.array([4, 9]), np.array(utility), {name: np.broadcast_to(values, 2).astype(float) for name, values in reasons.items()})


@pytest.mark.parametrize(
    ("left_out", "sentence"),
    [
        ((), "Cell 12 holds 3.1 % of all pairs and should hold 4.0 % of the labels; bought there: 2 before, 5 now."),
        (("cell_share", "cell_budget"), "Cell 12 holds 3.1 % of all pairs; bought there: 2 before."),
        (("cell_share", "cell_bought", "cell_budget"), "Cell 12 holds 3.1 % of all pairs."),
    ],
)
def test_a_sentence_tells_of_the_cell_what_is_known(left_out, sentence):
    known = {name: value for name, value in CELL.items() if name not in left_out}
    assert explain(selection(**known))(1).sentence == sentence


def test_a_cell_of_one_pair_among_many_holds_more_than_nothing():
    assert explain(selection(cell=1.0, cell_density=1 / 2465))(0).sentence == "Cell 1 holds 0.04 % of all pairs."


def test_figures_of_an_allocated_purchase():
    bought = selection((1.25, -0.5), informativeness=[1.25, -0.5], intra=[-3.14159, -4.0], centre_distance=[0.25, 0.5], signature=3.0, **CELL)
    assert explain(bought)(0).facts == (("informative", "+1.25"), ("intra", "−3.14"), ("from centre", "0.250"))
    assert explain(bought)(1).facts[0] == ("informative", "−0.50")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_utility_that_repeats_a_column_is_not_shown_twice(sign):
    assert explain(selection((0.7, 0.2), entropy=[sign * 0.7, sign * 0.2]))(0).facts == (("entropy", "0.700" if sign > 0 else "−0.700"),)
    assert [name for name, _ in explain(selection((0.7, 0.2), entropy=[0.7, 0.3]))(0).facts] == ["utility", "entropy"]


def test_without_reasons_there_is_the_utility_alone():
    why = explain(selection())(1)
    assert (why.sentence, why.facts) == ("", (("utility", "0.200"),))


def test_a_cell_without_its_density_is_a_figure():
    why = explain(selection(cell=[3, 5], cell_bought=[1, 1]))(1)
    assert (why.sentence, why.facts[1:]) == ("", (("cell", "5"), ("cell bought", "1")))


def test_meanings_are_those_of_the_columns_shown():
    names = [name for name, _ in meanings([selection(), selection((1.25, 0.5), informativeness=[1.25, 0.5], density=[1, 2], mine=1.0, **CELL)])]
    assert names == ["utility", "informative", "cell", "local density"]
    assert meanings([]) == []
