import torch

from xmr_ray.training.randomness import generator, seeded

CPU = torch.device("cpu")


def test_generators_depend_on_every_part():
    keys = [(0, 1, "a"), (1, 1, "a"), (0, 2, "a"), (0, 1, "b")]
    drawn = {tuple(torch.rand(3, generator=generator(*key)).tolist()) for key in keys}
    assert len(drawn) == 4


def test_the_global_state_is_put_back_even_after_an_error():
    before = torch.get_rng_state()
    try:
        with seeded(CPU, 1, "x"):
            torch.rand(5)
            raise ValueError
    except ValueError:
        pass
    assert torch.equal(before, torch.get_rng_state())


def test_inside_draws_depend_on_the_key_alone():
    def draw(*key):
        with seeded(CPU, *key):
            return torch.rand(4)

    one = draw(3, "dropout")
    torch.rand(1)
    assert torch.equal(one, draw(3, "dropout"))
    assert not torch.equal(one, draw(4, "dropout"))
