import pytest
import torch
from torch import nn

from xmr_ray.losses import LossSums
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.stepper import OptimiserSettings, Stepper, mean_over_ranks, one_cycle

CPU = torch.device("cpu")


def test_one_cycle_is_torchs():
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1.0, total_steps=1001, div_factor=25, final_div_factor=1e4)
    for step in range(1001):
        # torch rounds the peak to step 299.3, so near it the two differ by a little
        assert one_cycle(step / 1000) == pytest.approx(cycle.get_last_lr()[0], abs=4e-3)
        optimiser.step()
        if step < 1000:
            cycle.step()


def test_beyond_the_end_the_rate_stays():
    assert one_cycle(1.3) == one_cycle(1.0)


def test_mean_is_the_weighted_sum_of_means():
    terms = [(1.0, LossSums(torch.tensor(6.0), torch.tensor(3.0))), (0.5, LossSums(torch.tensor(8.0), torch.tensor(2.0)))]
    assert mean_over_ranks(terms, Ranks.single()).item() == pytest.approx(6 / 3 + 0.5 * 8 / 2)


def test_no_mass_is_no_loss():
    values = torch.zeros(2, requires_grad=True)
    loss = mean_over_ranks([(1.0, LossSums(values.sum(), torch.tensor(0.0)))], Ranks.single())
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(values.grad).all()


def test_a_step_is_adamw_at_the_rate_of_the_schedule():
    layer, reference = nn.Linear(3, 2), nn.Linear(3, 2)
    reference.load_state_dict(layer.state_dict())
    settings = OptimiserSettings(learning_rate=0.1, weight_decay=0.3)
    stepper = Stepper(layer, settings, ranks=Ranks.single(), device=CPU, precision="f32")
    optimiser = torch.optim.AdamW(reference.parameters(), lr=0.1, weight_decay=0.3)
    for progress in (0.0, 0.3, 0.9):
        rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(int(progress * 10)))
        stepper.step(layer(rows).square().sum(), progress)
        optimiser.param_groups[0]["lr"] = 0.1 * one_cycle(progress)
        optimiser.zero_grad()
        reference(rows).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(layer.weight, reference.weight)


def test_bf16_keeps_weights_in_f32():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, image, text):
            return self.layer(image + text)

    network = Pair()
    stepper = Stepper(network, OptimiserSettings(), ranks=Ranks.single(), device=CPU, precision="bf16")
    out = stepper.forward(torch.ones(2, 3), torch.ones(2, 3))
    stepper.step(out.float().sum(), 0.5)
    assert out.dtype == torch.bfloat16
    assert network.layer.weight.dtype == torch.float32
