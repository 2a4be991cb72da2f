import pytest

from xmr_ray.networks.dims import NetworkDims, resolve_width


@pytest.mark.parametrize(("image_dim", "text_dim", "width"), [(1280, 384, 512), (10, 7, 128), (40, 50, 256), (24, 41, 192)])
def test_auto_is_a_multiple_of_the_wider_feature_within_limits(image_dim, text_dim, width):
    dims = NetworkDims(image_dim=image_dim, text_dim=text_dim, num_classes=3, multi_label=True)
    assert resolve_width("auto", dims, narrowest=128, widest=512, factor=4) == width


def test_a_number_is_taken_as_it_is():
    dims = NetworkDims(image_dim=1280, text_dim=384, num_classes=3, multi_label=True)
    assert resolve_width(7, dims, narrowest=128, widest=512, factor=4) == 7
