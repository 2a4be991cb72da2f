import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.corpus.ids import IdSet


@given(st.lists(st.lists(st.integers(-20, 20), max_size=8), max_size=12))
def test_agrees_with_a_python_set(batches):
    ids, seen = IdSet(), set()
    for batch in batches:
        expected = next((i for i, value in enumerate(batch) if value in seen or value in batch[:i]), None)
        assert ids.add(np.array(batch, dtype=np.int64)) == expected
        if expected is None:
            seen.update(batch)
        assert len(ids) == len(seen)


def test_number_of_runs_stays_logarithmic():
    ids = IdSet()
    for start in range(0, 10_000, 10):
        assert ids.add(np.arange(start, start + 10)) is None
    assert len(ids) == 10_000
    assert len(ids._runs) <= 14
