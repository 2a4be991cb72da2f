import pytest

from xmr_ray.cluster.reservations import Reservation, check_reservations
from xmr_ray.errors import ResourceError


def test_an_actor_pool_that_holds_every_cpu_is_refused_with_the_sum():
    with pytest.raises(ResourceError, match=r"2 scoring actors x 1 CPU = 2 CPUs, but the cluster has 2 and 0.5 must stay free.*at most 1.5"):
        check_reservations([Reservation("scoring actors", 2, 1.0)], cluster_cpus=2, cluster_gpus=0)


def test_nested_groups_are_added_up():
    driver, workers = Reservation("trial drivers", 1, 1.0), Reservation("Train workers", 1, 1.0)
    check_reservations([driver], cluster_cpus=2, cluster_gpus=0)
    check_reservations([workers], cluster_cpus=2, cluster_gpus=0)
    with pytest.raises(ResourceError, match=r"1 trial drivers x 1 CPU \+ 1 Train workers x 1 CPU = 2 CPUs"):
        check_reservations([driver, workers], cluster_cpus=2, cluster_gpus=0)


def test_more_gpus_than_there_are_is_refused():
    check_reservations([Reservation("scoring actors", 2, 0.5, 1)], cluster_cpus=4, cluster_gpus=2)
    with pytest.raises(ResourceError, match="3 GPUs, but the cluster has 2"):
        check_reservations([Reservation("scoring actors", 3, 0.5, 1)], cluster_cpus=4, cluster_gpus=2)
