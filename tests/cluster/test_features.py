import numpy as np
import pytest

from xmr_ray.cluster.features import choose_by_features, choose_by_features_remotely
from xmr_ray.strategies.typical import Typical


def test_seed_pairs_are_distinct_train_pairs_whatever_the_candidates(tiny_corpus):
    ids = set(tiny_corpus.pair_ids("train").tolist())
    for candidates in (30, 20_000):
        chosen = choose_by_features(tiny_corpus, Typical(candidates=candidates), n=25, seed=3)
        assert len(set(chosen.pair_ids_n.tolist())) == 25
        assert set(chosen.pair_ids_n.tolist()) <= ids


def test_later_purchases_see_what_is_bought_and_never_buy_it_again(tiny_corpus):
    ids = set(tiny_corpus.pair_ids("train").tolist())
    for candidates in (30, 20_000):
        strategy, bought = Typical(candidates=candidates), np.array([], np.int64)
        for round_index in range(3):
            chosen = choose_by_features(tiny_corpus, strategy, n=40, seed=3, bought=bought, round_index=round_index)
            assert len(set(chosen.pair_ids_n.tolist())) == 40
            assert set(chosen.pair_ids_n.tolist()) <= ids - set(bought.tolist())
            bought = np.concatenate([bought, chosen.pair_ids_n])
    apart = choose_by_features(tiny_corpus, Typical(), n=40, seed=3, round_index=1).pair_ids_n
    beside = choose_by_features(tiny_corpus, Typical(), n=40, seed=3, bought=bought[:40], round_index=1).pair_ids_n
    assert set(apart.tolist()) != set(beside.tolist())


@pytest.mark.ray
@pytest.mark.parametrize("num_bought", [0, 50])
def test_a_task_chooses_the_same(session, tiny_corpus, num_bought):
    request = {"n": 20, "seed": 1, "bought": tiny_corpus.pair_ids("train")[:num_bought], "round_index": 2}
    near, far = (choose(tiny_corpus, Typical(), **request) for choose in (choose_by_features, choose_by_features_remotely))
    assert near.pair_ids_n.tolist() == far.pair_ids_n.tolist()
