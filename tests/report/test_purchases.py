import numpy as np

from xmr_ray.report.experiment import read_experiment
from xmr_ray.report.purchases import read_purchases, view_purchases

NAMES = ("animal", "plant", "tool", "food")


def views(tmp_path, corpus, num_pairs=2):
    purchases = read_purchases(read_experiment(str(tmp_path)).runs[0])
    items = corpus.items([pair_id for purchase in purchases for pair_id in purchase.shown_ids(num_pairs)])
    return list(view_purchases(purchases, items, class_names=NAMES, num_pairs=num_pairs))


def test_finished_bought_and_asked_rounds(tmp_path, make, pictured):
    run = make.run(tmp_path, "random", 0, [(3, 0.4, 0.4)])
    make.purchase(run.round(0), [7, 2, 30], reasons={"cell": np.array([4.0, 2.0, 9.0]), "local_density": np.array([0.25, 1.5, 2.0])})
    make.purchase(run.round(1), [5, 6, 8], cannot_tell=[6])
    make.purchase(run.round(2), [9], answered=False)
    first, second, third = views(tmp_path, pictured)
    assert [(view.index, view.num_asked, view.labels, view.closed, view.num_cannot_tell) for view in (first, second, third)] == [
        (0, 3, 3, True, 0),
        (1, 3, None, True, 1),
        (2, 1, None, False, 0),
    ]
    assert [pair.card.pair_id for pair in first.pairs] == [7, 2]
    assert first.pairs[0].why.facts == (("utility", "0.900"), ("cell", "4"), ("local density", "0.250"))
    assert first.pairs[0].card.labels == tuple(NAMES[c] for c in make.labels_of(7))
    assert (second.pairs[1].card.labels, second.pairs[1].state) == (None, "nobody could tell")
    assert third.pairs[0].state == "no answer yet"


def test_classes_are_counted_over_the_whole_purchase(tmp_path, make, pictured):
    run = make.run(tmp_path, "random", 0, [(3, 0.4, 0.4), (6, 0.5, 0.5)])
    make.purchase(run.round(0), [0, 1, 5])
    make.purchase(run.round(1), [10, 3, 4])
    first, second = views(tmp_path, pictured, num_pairs=1)
    assert first.common == (("animal", 2), ("plant", 2))
    assert (first.num_classes_so_far, second.num_classes_so_far) == (2, 4)
    assert len(first.pairs) == 1


def test_a_run_without_a_selection_has_no_purchases(tmp_path, make, pictured):
    make.run(tmp_path, "random", 0, [(3, 0.4, 0.4)])
    assert views(tmp_path, pictured) == []
