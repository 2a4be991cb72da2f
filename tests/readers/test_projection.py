import numpy as np
import pytest
from sklearn.decomposition import PCA

from xmr_ray.errors import ReaderError
from xmr_ray.readers.projection import principal_axes, project


@pytest.fixture
def features():
    rng = np.random.default_rng(3)
    return (rng.normal(size=(200, 12)) * np.linspace(5, 0.1, 12)) @ rng.normal(size=(12, 12)) + 40


def test_axes_are_those_of_scikit_learn(features):
    rows = np.arange(150)
    axes = principal_axes(features, rows=rows, mean_I=features[rows].mean(axis=0))
    expected = PCA().fit(features[rows]).components_.T
    np.testing.assert_allclose(np.abs((axes * expected).sum(axis=0)), 1.0, atol=1e-8)
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(12)] > 0).all()


def test_distances_are_those_of_principal_component_scores(features):
    fit_on = np.arange(200) < 150
    scores = PCA(5).fit(features[fit_on]).transform(features)
    found = project(features, fit_on=fit_on, num_components=5).astype(np.float64)
    np.testing.assert_allclose(found @ found.T, scores @ scores.T, rtol=1e-4, atol=1e-3)


def test_dimensions_have_similar_variances(features):
    fit_on = np.ones(200, dtype=bool)
    scores = PCA(8).fit_transform(features)
    found = project(features, fit_on=fit_on, num_components=8)
    assert found.std(axis=0).max() / found.std(axis=0).min() < 0.5 * scores.std(axis=0).max() / scores.std(axis=0).min()


def test_rows_outside_train_do_not_change_the_fit(features):
    fit_on = np.arange(200) < 150
    changed = features.copy()
    changed[150:] *= 7
    one, other = (project(array, fit_on=fit_on, num_components=4) for array in (features, changed))
    assert np.array_equal(one[:150], other[:150])


@pytest.mark.parametrize(("num_fit", "num_components"), [(150, 13), (4, 4)])
def test_more_components_than_there_can_be_is_refused(features, num_fit, num_components):
    with pytest.raises(ReaderError, match=f"image_pca={num_components} is more than {num_fit} training pairs of 12 dimensions"):
        project(features, fit_on=np.arange(200) < num_fit, num_components=num_components)
