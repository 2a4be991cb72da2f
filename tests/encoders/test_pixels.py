import numpy as np
import torch
from PIL import Image

from xmr_ray.encoders.pixels import Pixels


def test_each_number_is_the_mean_of_a_colour_over_a_cell():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    built = Pixels(grid=2).build(torch.device("cpu"))
    (found,) = built.encode([Image.fromarray(pixels)])
    expected = [pixels[3 * y : 3 * y + 3, 2 * x : 2 * x + 2, c].mean() / 255 for c in range(3) for y in range(2) for x in range(2)]
    assert built.dim == len(found) == 12
    np.testing.assert_allclose(found, expected, atol=1.01 / 255)  # Pillow rounds to whole numbers after each of its two passes
