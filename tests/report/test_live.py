import io

from rich.console import Console

from xmr_ray.report.live import round_bar


def shown(*, terminal, finished=0):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100)
    with round_bar(console, {"random-s0": 4, "full-s0": 1}, {"random-s0": finished, "full-s0": 0}) as bar:
        bar.step("random-s0", 2, "train")
        console.print("a finished line")
        bar.round_finished()
    return text.getvalue()


def test_a_terminal_shows_the_step_and_how_many_rounds_are_done_over_all_runs():
    text = shown(terminal=True, finished=2)
    assert "random-s0 round 2 of 3: train" in text
    assert "2/5" in text
    assert "3/5" in text
    assert "a finished line" in text


def test_elsewhere_only_lines_are_printed():
    assert shown(terminal=False) == "a finished line\n"
