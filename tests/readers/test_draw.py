import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.draw import draw_splits

COUNTS = {"test": 30, "validation": 20}


def drawn(keys=range(1000, 1200), counts=COUNTS, seed=0):
    return draw_splits(keys, counts, seed=seed, where="here")


def test_every_key_once_and_as_many_as_asked():
    found = drawn()
    assert sorted(found) == list(range(1000, 1200))
    assert [list(found.values()).count(split) for split in ("train", "validation", "test")] == [150, 20, 30]


def test_order_of_keys_does_not_matter_the_seed_does():
    assert drawn(reversed(range(1000, 1200))) == drawn()
    assert drawn(seed=1) != drawn()


def test_more_drawn_means_the_same_and_some_more():
    tests = [{key for key, split in drawn(counts={"test": number}).items() if split == "test"} for number in (10, 40)]
    assert tests[0] < tests[1]


def test_nothing_asked_is_all_train():
    assert set(drawn(counts={"test": 0}).values()) == {"train"}
    assert drawn([], counts={}) == {}


def test_nothing_left_to_train_on():
    with pytest.raises(ReaderError, match=r"here: .* drawn from 50 leaves nothing to train on"):
        drawn(range(50))
