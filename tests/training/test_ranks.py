import pytest
import torch

from xmr_ray.training.ranks import Ranks


def test_a_single_process_needs_no_group():
    ranks = Ranks.current()
    rows = torch.tensor([[1.0], [2.0]], requires_grad=True)
    assert ranks == Ranks.single() == Ranks(0, 1)
    assert ranks.gather(rows) is rows
    assert ranks.gather_ragged(rows) is rows
    assert ranks.max(3) == 3
    total = ranks.sum(rows)
    assert torch.equal(total, rows)
    assert not total.requires_grad
    assert torch.equal(ranks.first(torch.tensor([4.0])), torch.tensor([4.0]))


def one_rank():
    """What two processes say; runs in both."""
    ranks = Ranks.current()
    mine = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) + 10 * ranks.rank
    mine.requires_grad_()
    everyone = ranks.gather(mine)
    # each rank's loss weighs row k of all rows with (rank + 1) * (k + 1)
    ((everyone * torch.arange(1.0, 5.0)[:, None]).sum() * (ranks.rank + 1)).backward()
    ragged = ranks.gather_ragged(torch.arange(ranks.rank * 2 + 1) + 100 * ranks.rank)
    return {
        "everyone": everyone.detach(),
        "gradient": mine.grad,
        "ragged": ragged,
        "sum": ranks.sum(torch.tensor([1.0, ranks.rank])),
        "max": ranks.max(7 - ranks.rank),
        "first": ranks.first(torch.tensor([5.0 + ranks.rank])),
        "empty": ranks.gather_ragged(torch.zeros(2 * ranks.rank, 3)),
        "world": ranks.world,
    }


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_processes(two_processes):
    found = two_processes(one_rank)
    for rank, result in enumerate(found):
        assert result["world"] == 2
        assert result["everyone"].tolist() == [[1, 2], [3, 4], [11, 12], [13, 14]]
        rows = torch.tensor([[1.0], [2.0]]) + 2 * rank
        assert torch.equal(result["gradient"], (rows * 3).expand(2, 2))
        assert result["ragged"].tolist() == [0, 100, 101, 102]
        assert result["sum"].tolist() == [2.0, 1.0]
        assert result["max"] == 7
        assert result["first"].tolist() == [5.0]
        assert result["empty"].shape == (2, 3)
