import numpy as np
import pytest

from xmr_ray.cluster.reduce import CHUNK, BlockSource, reduce_blocks, reduce_chunk
from xmr_ray.errors import StrategyError
from xmr_ray.strategies.choose import choose, choose_over
from xmr_ray.strategies.random import Random
from xmr_ray.types import ScoreBlock


def ids_in_order(block):
    return [block.pair_ids_B]


def joined(parts):
    return [ids for part in parts for ids in part]


def test_blocks_of_ids_come_from_the_corpus_in_descriptor_order(tiny_corpus):
    source = BlockSource(tiny_corpus, None, ())
    found = reduce_chunk(source, tiny_corpus.descriptors("train"), ids_in_order, joined)
    assert np.concatenate(found).tolist() == tiny_corpus.pair_ids("train").tolist()


@pytest.mark.ray
def test_merging_is_in_descriptor_order_whatever_finishes_first(session, tiny_corpus):
    found = reduce_blocks(BlockSource(tiny_corpus, None, ()), ids_in_order, joined)
    assert np.concatenate(found).tolist() == tiny_corpus.pair_ids("train").tolist()
    assert len(tiny_corpus.descriptors("train")) < CHUNK or len(found) > 1


@pytest.mark.ray
def test_a_strategy_chooses_the_same_through_ray_as_in_one_process(session, tiny_corpus):
    bought = tiny_corpus.pair_ids("train")[::9]
    source = BlockSource(tiny_corpus, None, ())
    far = choose_over(lambda f, m: reduce_blocks(source, f, m), Random(), bought=bought, n=40, seed=1, round_index=2)
    near = choose(Random(), [ScoreBlock(tiny_corpus.pair_ids("train"))], bought=bought, n=40, seed=1, round_index=2)
    assert far.pair_ids_n.tolist() == near.pair_ids_n.tolist()


def refuse(block):
    raise StrategyError("no such thing")


@pytest.mark.ray
def test_an_error_of_our_own_inside_a_task_is_raised_as_itself(session, tiny_corpus):
    with pytest.raises(StrategyError, match="no such thing"):
        reduce_blocks(BlockSource(tiny_corpus, None, ()), refuse, joined)
