import numpy as np

from xmr_ray.strategies.choose import choose
from xmr_ray.strategies.random import Random
from xmr_ray.types import ScoreBlock


def test_every_pair_is_equally_likely_whatever_its_scores():
    block = ScoreBlock(np.arange(10), {"entropy": np.arange(10.0)})
    counts = np.zeros(10)
    for seed in range(2000):
        counts[choose(Random(), [block], bought=np.array([], np.int64), n=3, seed=seed, round_index=1).pair_ids_n] += 1
    # 2,000 draws at 0.3 each: standard deviation 20.5; 5 of them.
    assert abs(counts - 600).max() < 103


def test_needs_no_network():
    assert Random().needs == ()
