"""A real cluster on one machine, whose processes can be found and killed one by one, by their ids."""

import os
import signal
import socket
import time

import psutil

import xmr_ray.cluster  # sets Ray's environment, which must come before any `import ray`

os.environ["RAY_AUTH_TOKEN"] = "a-token-of-these-tests-and-of-nothing-else"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
# Drivers and nodes give a dead head up sooner than after a minute, and a busy machine has time to start.
os.environ |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "10", "RAY_raylet_start_wait_time_s": "120"}

from ray.cluster_utils import Cluster

HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
    "gcs_rpc_server_reconnect_timeout_s": 10,
}
NODES = 2


class LocalCluster:
    """A head that works, too, and two worker nodes, one CPU each."""

    def __init__(self, root):
        self._root, self._cluster, self._frozen = root, None, []

    def __enter__(self):
        self.start_again()
        return self

    def __exit__(self, *_):
        self._thaw()
        self._cluster.shutdown()

    @property
    def address(self):
        return self._cluster.address

    def start_again(self):
        """A new cluster; what is left of an old one is ended."""
        if self._cluster is not None:
            self._cluster.shutdown()
        head = {"num_cpus": 1, "object_store_memory": 150_000_000, "_system_config": HEALTH, "include_dashboard": False}
        head["dashboard_agent_listen_port"] = free_port()  # the default is one port, which another Ray on this machine may have
        self._cluster = Cluster()
        _patiently(lambda: self._cluster.add_node(**head))
        self.mend()

    def mend(self):
        """Two living worker nodes again."""
        self._thaw()
        for node in list(self._cluster.worker_nodes):
            if not psutil.pid_exists(raylet_of(node)) or psutil.Process(raylet_of(node)).status() == psutil.STATUS_ZOMBIE:
                self._cluster.remove_node(node, allow_graceful=False)
        while len(self._cluster.worker_nodes) < NODES:
            _patiently(lambda: self._cluster.add_node(num_cpus=1, object_store_memory=150_000_000))

    def workers(self, name, nodes=None):
        """Process ids of Ray workers whose title holds `name`."""
        nodes = [self._cluster.head_node, *self._cluster.worker_nodes] if nodes is None else nodes
        found = []
        for node in nodes:
            try:
                children = psutil.Process(raylet_of(node)).children(recursive=True)
                found += [child.pid for child in children if name in " ".join(child.cmdline())]
            except psutil.Error:  # it ended while it was looked at
                continue
        return sorted(found)

    def busy_nodes(self):
        """Worker nodes on which an actor or a task is at work now."""
        return [node for node in self._cluster.worker_nodes if [pid for pid in self.workers("ray::", [node]) if not idle(pid)]]

    def kill(self, pid):
        """What was killed; None if it had ended by itself."""
        try:
            title = " ".join(psutil.Process(pid).cmdline()).strip()
            os.kill(pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            return None
        return f"{title} {pid}"

    def kill_node(self, node):
        """The node and all that works on it, at once."""
        pid, workers = raylet_of(node), self.workers("ray::", [node])
        for one in (pid, *workers):
            with_id(one, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)
        return f"node with raylet {pid} and {len(workers)} workers"

    def freeze(self, node):
        """Stop a node without ending it, as a machine that swaps or a network that is cut; it goes on when the schedule is over."""
        processes = [raylet_of(node), *self.workers("ray::", [node])]
        for one in processes:
            with_id(one, signal.SIGSTOP)
        self._frozen.append((node, processes))
        return f"node with raylet {processes[0]} frozen"

    def _thaw(self):
        for node, processes in self._frozen:
            for one in processes:
                with_id(one, signal.SIGCONT)
            time.sleep(1.0)
            for one in processes:
                with_id(one, signal.SIGKILL)
            self._cluster.remove_node(node, allow_graceful=False)
        self._frozen = []

    def kill_head(self):
        """The head node, its control store included."""
        for kind in ("gcs_server", "raylet"):
            for process in self._cluster.head_node.all_processes.get(kind, []):
                with_id(process.process.pid, signal.SIGKILL)


def _patiently(start):
    """A raylet gives itself up when its agents need more than 15 s to start (ray issue 65983), which a busy machine brings about."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:  # Ray raises no class of its own here
            last = error
    raise last


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


def idle(pid):
    try:
        return "ray::IDLE" in " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return True


def with_id(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


__all__ = ["LocalCluster", "xmr_ray"]
