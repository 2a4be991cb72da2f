import pytest

from xmr_ray.cluster.seeds import choose_typical, choose_typical_remotely
from xmr_ray.strategies.typical import Typical


def test_seed_pairs_are_distinct_train_pairs_whatever_the_candidates(tiny_corpus):
    ids = set(tiny_corpus.pair_ids("train").tolist())
    for candidates in (30, 20_000):
        chosen = choose_typical(tiny_corpus, Typical(candidates=candidates), n=25, seed=3)
        assert len(set(chosen.pair_ids_n.tolist())) == 25
        assert set(chosen.pair_ids_n.tolist()) <= ids


@pytest.mark.ray
def test_a_task_chooses_the_same(session, tiny_corpus):
    near, far = (choose(tiny_corpus, Typical(), n=20, seed=1) for choose in (choose_typical, choose_typical_remotely))
    assert near.pair_ids_n.tolist() == far.pair_ids_n.tolist()
