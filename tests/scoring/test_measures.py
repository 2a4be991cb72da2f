"""The contract that every registered uncertainty measure keeps."""

import numpy as np
import pytest

from xmr_ray.scoring.uncertainty import MEASURES


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("multi_label", [True, False])
def test_every_measure_is_finite_row_wise_and_higher_when_less_is_known(name, multi_label):
    sure, unsure = np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.5]) if multi_label else np.full(3, 1 / 3)
    both = MEASURES[name](np.stack([sure, unsure]), multi_label=multi_label)
    alone = MEASURES[name](unsure[None], multi_label=multi_label)
    assert np.isfinite(both).all()
    assert both[1] > both[0]
    assert both[1] == alone[0]
