import torch
from torch.nn import functional

from xmr_ray.losses import modality_sums


def test_is_torchs_binary_cross_entropy_over_both_towers():
    image, text = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    total, mass = modality_sums(image, text, torch.ones(6))
    expected = functional.binary_cross_entropy_with_logits(torch.cat([image, text]), torch.cat([torch.ones(6), torch.zeros(6)]))
    torch.testing.assert_close(total / mass, expected)


def test_padding_does_not_count_and_parts_add_up():
    image, text = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    whole, kept = modality_sums(image, text, weight), weight > 0
    torch.testing.assert_close(whole, modality_sums(image[kept], text[kept], torch.ones(4)))
    parts = [modality_sums(image[at], text[at], weight[at]) for at in (slice(0, 1), slice(1, 6))]
    torch.testing.assert_close(parts[0].total + parts[1].total, whole.total)
    torch.testing.assert_close(parts[0].mass + parts[1].mass, whole.mass)
