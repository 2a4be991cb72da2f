import numpy as np

from xmr_ray.strategies.choose import choose_over, split_block
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.types import ScoreBlock


def test_split_block_keeps_rows_together():
    block = ScoreBlock(np.array([9, 2, 5]), {"entropy": np.array([0.9, 0.2, 0.5])})
    pool, bought = split_block(block, np.array([2, 77]))
    assert pool.pair_ids_B.tolist() == [9, 5]
    assert pool.columns["entropy"].tolist() == [0.9, 0.5]
    assert bought.pair_ids_B.tolist() == [2]


def test_blocks_are_reached_only_through_reduce_and_twice():
    blocks = [ScoreBlock(np.array([1, 2]), {"entropy": np.array([0.1, 0.4])}), ScoreBlock(np.array([3]), {"entropy": np.array([0.2])})]
    calls = []

    def reduce(function, merge):
        calls.append(function)
        return merge([function(block) for block in blocks])

    selection = choose_over(reduce, Entropy(), bought=np.array([2]), n=1, seed=0, round_index=1)
    assert selection.pair_ids_n.tolist() == [3]
    assert len(calls) == 2
