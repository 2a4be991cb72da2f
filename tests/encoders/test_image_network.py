import numpy as np
import torch
from PIL import Image

from xmr_ray.encoders.image_network import CPU_ROWS, ImageNetwork, to_floats


def test_pictures_are_prepared_one_by_one_and_come_back_in_order():
    def prepare(image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()

    seen = []

    def network(pixels_BCHW):
        seen.append(len(pixels_BCHW))
        assert torch.is_inference_mode_enabled()
        return pixels_BCHW.mean(dim=(2, 3))

    encoder = ImageNetwork(3, torch.device("cpu"), prepare, network)
    colours = [(i, 2 * i, 3 * i) for i in range(2 * CPU_ROWS + 1)]
    features_BD = encoder.encode([Image.new("RGB", (4, 4), colour) for colour in colours])
    assert features_BD.tolist() == [list(map(float, colour)) for colour in colours]
    assert seen == [CPU_ROWS, CPU_ROWS, 1]


def test_any_precision_becomes_float32():
    made = to_floats(torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16, requires_grad=True))
    assert made.dtype == np.float32
    assert made.tolist() == [[1.5, -2.0]]
