import numpy as np

from xmr_ray.geometry.distances import squared_distances


def test_equals_the_slow_loop():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(7, 5)), rng.normal(size=(9, 5))
    slow = [[sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for y in right] for x in left]
    np.testing.assert_allclose(squared_distances(left, right), slow, atol=1e-5)


def test_never_negative():
    points = np.full((50, 3), 1000.1, np.float32)
    assert (squared_distances(points, points) >= 0).all()
