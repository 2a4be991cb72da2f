import numpy as np
import pytest

from xmr_ray.geometry.features import feature_points
from xmr_ray.types import FeatureStatistics


def test_wide_features_are_projected_and_keep_who_is_near_whom():
    rng = np.random.default_rng(1)
    images, texts = rng.normal(size=(40, 600)).astype(np.float32), rng.normal(size=(40, 300)).astype(np.float32)
    images[1], texts[1] = images[0] + 0.05 * images[2], texts[0]
    statistics = FeatureStatistics(np.zeros(600, np.float32), np.ones(600, np.float32), np.zeros(300, np.float32), np.ones(300, np.float32))
    points = feature_points(images, texts, statistics)
    assert points.shape == (40, 128)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    distances = np.linalg.norm(points - points[0], axis=1)
    assert distances[1] < 0.1
    assert distances[2:].min() > 1


@pytest.mark.parametrize("components", [16, 64])
def test_products_are_kept_up_to_the_number_of_components(components):
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(60, 500)).astype(np.float32), rng.normal(size=(60, 200)).astype(np.float32)
    statistics = FeatureStatistics(np.zeros(500, np.float32), np.ones(500, np.float32), np.zeros(200, np.float32), np.ones(200, np.float32))
    whole, projected = (feature_points(images, texts, statistics, components=width) for width in (700, components))
    assert (whole.shape, projected.shape) == ((60, 700), (60, components))
    error = (projected @ projected.T - whole @ whole.T)[~np.eye(60, dtype=bool)]
    assert 0.5 < error.std() * components**0.5 < 1.5
