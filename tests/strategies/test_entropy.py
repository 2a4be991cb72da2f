import numpy as np

from xmr_ray.strategies.choose import choose
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.types import ScoreBlock


def test_highest_entropy_column_first():
    block = ScoreBlock(np.array([10, 11, 12, 13]), {"entropy": np.array([0.1, -0.3, 0.8, 0.2]), "other": np.array([9.0, 8.0, 7.0, 6.0])})
    selection = choose(Entropy(), [block], bought=np.array([13]), n=2, seed=0, round_index=1)
    assert selection.pair_ids_n.tolist() == [12, 10]
    assert selection.utility_n.tolist() == [0.8, 0.1]
    assert selection.reasons["other"].tolist() == [7.0, 9.0]
