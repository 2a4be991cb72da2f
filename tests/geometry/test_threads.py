import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from xmr_ray.geometry.threads import one_thread


def test_blas_has_one_thread_within_and_its_own_number_after():
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(limits=2):
        before = [pool["num_threads"] for pool in threadpool_info()]
        with one_thread():
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        assert [pool["num_threads"] for pool in threadpool_info()] == before
