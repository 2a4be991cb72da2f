from pathlib import Path

import pytest

from xmr_ray.errors import RunError
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.state import networks_of, restore


def test_a_state_is_read_back_whole(make_run):
    run = make_run()
    state = run_rounds(run)
    back = restore(run.directory)
    assert back.ledger.sizes == state.ledger.sizes
    assert back.ledger.bought_ids.tolist() == state.ledger.bought_ids.tolist()
    assert [report["round"] for report in back.history] == [0, 1, 2, 3]


def test_a_receipt_missing_between_others_is_told(make_run):
    run = make_run()
    run_rounds(run)
    Path(run.directory.round(1).receipt).unlink()
    with pytest.raises(RunError, match=r"001/labels\.parquet: missing, though round 2 was bought after it"):
        restore(run.directory)


def test_networks_are_known_by_their_bytes(make_run):
    run = make_run()
    assert networks_of(run.directory.round(0)) is None
    run_rounds(run)
    digests = {networks_of(run.directory.round(k)).digest for k in range(4)}
    assert len(digests) == 4
