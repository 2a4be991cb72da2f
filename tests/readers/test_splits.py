import numpy as np
import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.splits import draw_split_of, drawn_splits, hash_rows, split_numbers


def test_words_of_splits():
    assert split_numbers(["train", " Dev ", "TEST", 0, "1", 2], where="x").tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(ReaderError, match=r"x: row 11 is in split 'holdout'; expected train"):
        split_numbers(["train", "holdout"], where="x", first_row=10)


def test_drawn_rows_are_those_of_the_smallest_hashes():
    found = drawn_splits(50, num_validation=5, num_test=8, seed=3, where="x")
    order = sorted(range(50), key=lambda row: int(hash_rows(np.array([row]), seed=3)[0]))
    assert found["test"].tolist() == sorted(order[:8])
    assert found["validation"].tolist() == sorted(order[8:13])
    assert found["train"].tolist() == sorted(order[13:])


def test_another_seed_draws_others():
    one, other = (drawn_splits(50, num_validation=0, num_test=10, seed=seed, where="x")["test"].tolist() for seed in (0, 1))
    assert one != other


def test_something_is_left_to_train():
    with pytest.raises(ReaderError, match="x: num_test=3 and num_validation=2 of 5 pairs leave none to train"):
        drawn_splits(5, num_validation=2, num_test=3, seed=0, where="x")


def test_hash_is_splitmix64():
    # first outputs of SplitMix64 from state 0, as published with its reference implementation
    assert int(hash_rows(np.array([0]), seed=0)[0]) == 0xE220A8397B1DCDAF
    assert int(hash_rows(np.array([0]), seed=1)[0]) == 0x6E789E6AA1B965F4


COUNTS = {"test": 30, "validation": 20}


def drawn(keys=range(1000, 1200), counts=COUNTS, seed=0):
    return draw_split_of(keys, counts, seed=seed, where="here")


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
