"""What a terminal shows while an experiment runs: one bar over all rounds of all runs, the present step, and the time it takes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class RoundBar:
    """Counts finished rounds and names the step that is going on; on anything but a terminal it shows nothing.

    `rounds` gives the number of rounds of every run, `finished` how many of them an earlier process finished.
    """

    def __init__(self, progress: Progress, rounds: Mapping[str, int], finished: Mapping[str, int]) -> None:
        self._progress, self._rounds = progress, dict(rounds)
        self._task = progress.add_task("starting Ray", total=sum(rounds.values()), completed=sum(finished.values()))

    def step(self, run_id: str, index: int, name: str) -> None:
        """A step of a round has begun."""
        self._progress.update(self._task, description=f"{run_id} round {index} of {self._rounds[run_id] - 1}: {name}")

    def round_finished(self) -> None:
        """One more round is done."""
        self._progress.advance(self._task)


@contextmanager
def round_bar(console: Console, rounds: Mapping[str, int], finished: Mapping[str, int]) -> Iterator[RoundBar]:
    """A bar that lives at the foot of a terminal, below the lines printed to the same console, and disappears at the end."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield RoundBar(progress, rounds, finished)
