import numpy as np

from xmr_ray.geometry.projection import principal_components, project_randomly, scale_to_unit, standardise


def test_standardise_equals_the_formula_and_constant_columns_become_zero():
    points = np.random.default_rng(0).normal(3, 5, size=(200, 4))
    points[:, 2] = 0.1
    scaled = standardise(points)
    expected = (points - points.mean(axis=0)) / np.where(points.std(axis=0) > 1e-9, points.std(axis=0), 1)
    np.testing.assert_allclose(scaled[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-5)
    assert (scaled[:, 2] == 0).all()


def test_scale_to_unit():
    points = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
    np.testing.assert_allclose(scale_to_unit(points), points / np.linalg.norm(points, axis=1, keepdims=True), atol=1e-6)


def test_principal_components_keep_the_distances_of_points_in_a_plane():
    rng = np.random.default_rng(2)
    points = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 30))).astype(np.float32)
    flat = principal_components(points, components=2, rng=np.random.default_rng(0))
    assert flat.shape == (60, 2)

    def distances(rows):
        return np.linalg.norm(rows[:, None] - rows[None], axis=2)

    np.testing.assert_allclose(distances(flat), distances(points), atol=1e-3)
    again = principal_components(points, components=2, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(flat, again)


def test_points_of_few_dimensions_stay():
    points = np.ones((5, 3), np.float32)
    assert principal_components(points, components=3, rng=np.random.default_rng(0)) is points


def test_a_random_projection_keeps_distances_and_depends_on_nothing_but_its_key():
    points = np.random.default_rng(5).normal(size=(60, 700)).astype(np.float32)
    projected = project_randomly(points, components=128, key=3)
    true, seen = (np.linalg.norm(rows[:, None] - rows[None], axis=2)[np.triu_indices(60, 1)] for rows in (points, projected))
    assert np.abs(seen / true - 1).max() < 0.35
    assert np.abs(seen / true - 1).mean() < 0.08
    np.testing.assert_allclose(project_randomly(points[7:9], components=128, key=3), projected[7:9], atol=1e-4)
    assert np.abs(project_randomly(points, components=128, key=4) - projected).max() > 1
