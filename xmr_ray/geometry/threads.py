"""One thread for sums whose order must not depend on the number of cores that a process was given."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, BLAS and OpenMP of numpy and scikit-learn use one thread, so the same input gives the same bits."""
    with threadpool_limits(limits=1):
        yield
