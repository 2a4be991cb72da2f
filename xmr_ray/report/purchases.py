"""What a run bought in each round, why, and which labels came back."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from xmr_ray import storage
from xmr_ray.corpus.schema import Item
from xmr_ray.labels.annotators import Answers
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.report.cards import Card, make_card, names_of
from xmr_ray.report.experiment import Run
from xmr_ray.report.reasons import Why, explain
from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.types import Selection

_NUM_COMMON = 6


@dataclass(frozen=True)
class Purchase:
    """One round's selection and its receipt, None while it is open; `labels` are those paid for when the round was finished."""

    index: int
    selection: Selection
    answers: Answers | None
    labels: int | None

    def shown_ids(self, num_pairs: int) -> list[int]:
        """The pairs that were wanted most."""
        return [int(pair_id) for pair_id in self.selection.pair_ids_n[:num_pairs]]


@dataclass(frozen=True)
class BoughtPair:
    """A bought pair with its reasons; `state` tells why there are no labels."""

    card: Card
    why: Why
    state: str


@dataclass(frozen=True)
class PurchaseView:
    """A purchase ready for the page; `common` counts the most frequent classes of the whole purchase."""

    index: int
    num_asked: int
    num_cannot_tell: int
    labels: int | None
    closed: bool
    common: tuple[tuple[str, int], ...]
    num_classes_so_far: int
    pairs: tuple[BoughtPair, ...]


def read_purchases(run: Run) -> list[Purchase]:
    """Every purchase of a run that was at least asked for, in order."""
    labels = {finished.index: finished.labels for finished in run.finished}
    rounds = sorted([*(finished.directory for finished in run.finished), *run.unfinished], key=lambda directory: directory.index)
    return [purchase for directory in rounds if (purchase := _read_purchase(directory, labels.get(directory.index)))]


def _read_purchase(directory: RoundDirectory, labels: int | None) -> Purchase | None:
    selection = directory.read_selection()
    if selection is None:
        return None
    answers = read_receipt(directory.receipt) if storage.exists(directory.receipt) else None
    return Purchase(directory.index, selection, answers, labels)


def view_purchases(purchases: Sequence[Purchase], items: Mapping[int, Item], *, class_names: Sequence[str], num_pairs: int) -> Iterator[PurchaseView]:
    """Purchases with pictures, titles, reasons and labels, in order."""
    seen: set[str] = set()
    for purchase in purchases:
        names = names_of(purchase.answers.labels, class_names) if purchase.answers else {}
        counts = Counter(name for row in names.values() for name in row)
        seen |= set(counts)
        why = explain(purchase.selection)
        pairs = [_bought(purchase, row, why(row), items, names) for row in range(min(num_pairs, len(purchase.selection)))]
        yield PurchaseView(
            index=purchase.index,
            num_asked=len(purchase.selection),
            num_cannot_tell=len(purchase.answers.cannot_tell_n) if purchase.answers else 0,
            labels=purchase.labels,
            closed=purchase.answers is not None,
            common=tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_NUM_COMMON]),
            num_classes_so_far=len(seen),
            pairs=tuple(pairs),
        )


def _bought(purchase: Purchase, row: int, why: Why, items: Mapping[int, Item], names: Mapping[int, tuple[str, ...]]) -> BoughtPair:
    pair_id = int(purchase.selection.pair_ids_n[row])
    state = "" if pair_id in names else "no answer yet" if purchase.answers is None else "nobody could tell"
    return BoughtPair(make_card(pair_id, items.get(pair_id), names.get(pair_id)), why, state)
