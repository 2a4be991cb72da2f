"""What long-lived actors hold is added up before anything starts; a sum that could stall the cluster is refused."""

from collections.abc import Sequence
from dataclasses import dataclass

from xmr_ray.errors import ResourceError

SPARE_CPUS = 0.5


@dataclass(frozen=True)
class Reservation:
    """`count` actors that each hold `cpus` and `gpus` for as long as the step lasts."""

    name: str
    count: int
    cpus: float
    gpus: float = 0.0


def check_reservations(reservations: Sequence[Reservation], *, cluster_cpus: float, cluster_gpus: float) -> None:
    """Raise `ResourceError`, with the sum, unless half a CPU is left for the tasks that feed these actors.

    Actors that hold every CPU wait for ever for tasks that cannot start, and groups nested in each other wait for their own parts.

    >>> check_reservations([Reservation("scoring actors", 2, 0.5)], cluster_cpus=2, cluster_gpus=0)
    """
    cpus = sum(item.count * item.cpus for item in reservations)
    gpus = sum(item.count * item.gpus for item in reservations)
    parts = " + ".join(f"{item.count} {item.name} x {item.cpus:g} CPU" + (f" x {item.gpus:g} GPU" if item.gpus else "") for item in reservations)
    if cpus > cluster_cpus - SPARE_CPUS + 1e-9:
        raise ResourceError(
            f"{parts} = {cpus:g} CPUs, but the cluster has {cluster_cpus:g} and {SPARE_CPUS:g} must stay free for reading; "
            f"at most {max(cluster_cpus - SPARE_CPUS, 0):g} can be held, take fewer actors or fewer CPUs for each"
        )
    if gpus > cluster_gpus + 1e-9:
        raise ResourceError(f"{parts} = {gpus:g} GPUs, but the cluster has {cluster_gpus:g}; take fewer, or set resources.use_gpu to false")
