import numpy as np
import pytest

from xmr_ray.scoring.spaces import SPACES, space_of


@pytest.fixture
def towers():
    rng = np.random.default_rng(1)
    shapes = {"image_embedding": 4, "text_embedding": 4, "image_probability": 3, "text_probability": 3}
    return {name: rng.random((6, width), dtype=np.float32) for name, width in shapes.items()}


def cosine(a, b):
    return a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)


@pytest.mark.parametrize("space", SPACES)
def test_products_of_rows_are_what_the_space_says(towers, space):
    image, text = space_of(towers, space)
    for i in range(6):
        for j in range(6):
            feature = cosine(towers["image_embedding"][i], towers["text_embedding"][j])
            prob = cosine(towers["image_probability"][i], towers["text_probability"][j])
            overlap = towers["image_probability"][i] @ towers["text_probability"][j] / 3
            expected = {"feature": feature, "prob": prob, "concat": (feature + prob) / 2, "overlap": overlap}[space]
            assert image[i] @ text[j] == pytest.approx(expected, abs=1e-5)
    for rows in (image, text):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
