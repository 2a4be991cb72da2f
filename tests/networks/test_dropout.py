import pytest
import torch

from xmr_ray.networks.dropout import ByteDropout


def test_share_kept_and_mean_in_training():
    layer = ByteDropout(0.5).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = layer(torch.ones(500, 401))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(dropped.mean().item() - 1) < 0.01


def test_rate_is_rounded_to_a_256th_and_the_mean_kept():
    layer = ByteDropout(0.2).train()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        dropped = layer(torch.ones(400_003))
    kept = (dropped > 0).double().mean().item()
    assert abs(kept - 205 / 256) < 0.004
    assert dropped.max().item() == pytest.approx(256 / 205, abs=1e-6)


def test_gradient_flows_through_kept_values_only():
    layer = ByteDropout(0.5).train()
    values = torch.ones(64, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        dropped = layer(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


def test_evaluation_and_rate_zero_change_nothing():
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ByteDropout(0.5).eval()(values), values)
    assert torch.equal(ByteDropout(0.0).train()(values), values)


def test_every_column_is_dropped_alike():
    # int64 words hold eight levels each: a biased byte would show as every eighth value kept too often
    layer = ByteDropout(0.5).train()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        kept_8 = (layer(torch.ones(20_000, 8)) > 0).double().mean(dim=0)
    assert ((kept_8 - 0.5).abs() < 0.02).all()
