import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from xmr_ray.errors import CheckpointError, LedgerError, RunError
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.ledger import HOLDER, read_receipt
from xmr_ray.loop import mend
from xmr_ray.loop.mend import reclose_purchases, relearn
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.state import restore
from xmr_ray.types import EMPTY_LABELS


class Never:
    def request(self, selection, *, folder):
        self.asked = selection.pair_ids_n

    def collect(self):
        return Pending(3, len(self.asked))


class Other(Never):
    def collect(self):
        return Answers(EMPTY_LABELS, self.asked[:1])


def test_a_receipt_that_is_gone_is_asked_for_again_only_if_told_to(make_run):
    run = make_run()
    state = run_rounds(run)
    receipt = Path(run.directory.round(1).receipt)
    kept = receipt.read_bytes()
    receipt.unlink()
    with pytest.raises(RunError, match=r"001/labels\.parquet: missing.*--restore-receipts"):
        run_rounds(make_run())
    with pytest.raises(LedgerError, match=r"3 of its 15 pairs are answered"):
        reclose_purchases(make_run(annotator=Never()))
    with pytest.raises(LedgerError, match=r"answered other pairs"):
        reclose_purchases(make_run(annotator=Other()))
    assert run_rounds(make_run(), restore_receipts=True).ledger.bought_ids.tolist() == state.ledger.bought_ids.tolist()
    receipt.unlink()
    assert reclose_purchases(run) == 1
    assert receipt.read_bytes() == kept
    assert reclose_purchases(run) == 0
    receipt.unlink()
    reclose_purchases(replace(run, held=lambda: {"owner": "host:1:a", "number": "3"}))
    assert pq.read_schema(receipt).metadata[HOLDER.encode()] == b'{"owner": "host:1:a", "number": "3"}', "written under a lease it says so"


def test_a_receipt_whose_selection_is_gone_too_needs_a_backup(make_run):
    run = make_run()
    run_rounds(run)
    place = run.directory.round(1)
    for path in (place.receipt, place.selection):
        Path(path).unlink()
    with pytest.raises(LedgerError, match="only a backup has the labels"):
        reclose_purchases(run)


def test_what_an_earlier_round_lost_is_made_again_with_the_labels_that_it_had(make_run, monkeypatch):
    run = make_run()
    run_rounds(run)
    place = run.directory.round(1)
    report, networks = place.read_report(), Path(place.networks).read_bytes()
    Path(place.report).unlink()
    again = make_run()
    assert relearn(again, restore(run.directory)) == 1
    assert again.engine.calls == ["evaluate 1"]
    with monkeypatch.context() as patch:
        patch.setattr(mend, "read_receipt", None)
        assert relearn(again, restore(run.directory)) == 0, "where every report is there, no receipt is read for it"
    shutil.rmtree(Path(place.networks).parent)
    Path(place.report).unlink()
    again = make_run()
    state = run_rounds(again)
    assert again.engine.calls == ["train 1", "evaluate 1"]
    assert Path(place.networks).read_bytes() == networks
    assert place.read_report()["retrieval"] == report["retrieval"]
    assert [told["round"] for told in state.history] == [0, 1, 2, 3]
    assert read_receipt(place.receipt).pair_ids.tolist() == sorted(place.read_selection().pair_ids_n.tolist())


def test_damaged_networks_are_refused_and_trained_again_when_removed(make_run):
    whole = make_run("whole")
    run_rounds(whole)
    run = make_run("hurt", purchases=(20, 15, 15, 10))
    run_rounds(make_run("hurt", purchases=(20, 15)))
    place = run.directory.round(1)
    data = bytearray(Path(place.networks).read_bytes())
    data[3] ^= 1
    Path(place.networks).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"001/networks/networks\.pt: damaged.*remove both"):
        run_rounds(run)
    shutil.rmtree(Path(place.networks).parent)
    state = run_rounds(run)
    assert state.ledger.bought_ids.tolist() == restore(whole.directory).ledger.bought_ids.tolist()
