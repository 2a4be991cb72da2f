"""The error tree is the one that the docstring draws, and one `except XmrError` catches all of it."""

import inspect
import re

import pytest

from xmr_ray import errors

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass)]


def drawn_tree():
    """Child -> parent, read from the drawing: the depth is the column where the name starts."""
    parents, above = {}, []
    for line in (errors.__doc__ or "").splitlines():
        found = re.search(r"\b([A-Z]\w*Error)\b", line)
        if found:
            depth = found.start()
            above = [(column, name) for column, name in above if column < depth]
            if above:
                parents[found[1]] = above[-1][1]
            above.append((depth, found[1]))
    return parents


def test_the_drawing_is_the_tree():
    assert drawn_tree() == {kind.__name__: kind.__base__.__name__ for kind in CLASSES if kind is not errors.XmrError}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_caught_as_an_xmr_error_and_keeps_its_message(kind):
    assert kind.__doc__
    with pytest.raises(errors.XmrError, match=r"^pair_id 7$"):
        raise kind("pair_id 7")


def test_the_root_does_not_catch_bugs():
    assert errors.XmrError.__base__ is Exception
