"""Raw features of both modalities as points of one space, which no network has seen."""

import numpy as np

from xmr_ray.geometry.hashing import derive_key
from xmr_ray.geometry.projection import project_randomly, scale_to_unit
from xmr_ray.types import FeatureStatistics, Floats

FEATURE_COMPONENTS = 128
_SMALLEST_STD = 1e-6


def feature_points(image_BI: Floats, text_BT: Floats, statistics: FeatureStatistics, *, components: int = FEATURE_COMPONENTS) -> Floats:
    """Both modalities in one space (B, `components` or fewer), rows of length 1; the same in every round and for every seed.

    Each is standardised and scaled to unit rows, so that both count equally; side by side, they are projected at random where they are wider.
    """
    joined_BD = np.hstack(
        [
            scale_to_unit(_standardised(image_BI, statistics.image_mean_I, statistics.image_std_I)),
            scale_to_unit(_standardised(text_BT, statistics.text_mean_T, statistics.text_std_T)),
        ]
    )
    return scale_to_unit(project_randomly(joined_BD, components=components, key=derive_key("feature points")))


def _standardised(features_BW: Floats, mean_W: Floats, std_W: Floats) -> Floats:
    return np.asarray((features_BW - mean_W) / np.where(std_W > _SMALLEST_STD, std_W, 1), np.float32)
