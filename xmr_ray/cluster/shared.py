"""Several nodes work on one run through its storage: what the driver writes every node must see, or nothing is started."""

import logging
import uuid
from collections.abc import Mapping, Sequence

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from xmr_ray import storage
from xmr_ray.cluster.session import Session
from xmr_ray.errors import ResourceError, StorageError

log = logging.getLogger(__name__)
_WAIT_S = 60.0


def check_shared(session: Session, folder: str, *, also: Sequence[str] = ()) -> None:
    """Write a file into `folder` and let every node look for it, and for the files `also`, by content. Nothing is done where there is one node.

    Raises:
        ResourceError: a node does not see what the driver sees; it is named.
    """
    if len(session.node_ids) < 2:
        return
    mark = storage.join(folder, f"seen-{uuid.uuid4().hex[:12]}")
    storage.write_whole(mark, mark.encode())
    try:
        expected = look([mark, *also])
        refuse_unshared(expected, _seen_by_nodes(session.node_ids, list(expected)))
    finally:
        storage.remove_file(mark)
    log.info("step=shared path=%s nodes=%d", folder, len(session.node_ids))


def look(paths: Sequence[str]) -> dict[str, str]:
    """By path the digest of what lies there; nothing for what cannot be read here."""
    found = {}
    for path in paths:
        try:
            found[path] = storage.digest_file(path)
        except StorageError:
            continue
    return found


def refuse_unshared(expected: Mapping[str, str], seen: Mapping[str, Mapping[str, str]]) -> None:
    """Raise `ResourceError` with the first node and the path that it does not see as the driver does.

    >>> refuse_unshared({"/runs/a": "1"}, {"10.0.0.2": {"/runs/a": "1"}})
    """
    for node, found in sorted(seen.items()):
        for path, digest in expected.items():
            if found.get(path) != digest:
                why = "has another file there" if path in found else "does not see it"
                raise ResourceError(
                    f"{path}: the driver has this file, and node {node} {why}; a run on {len(seen)} nodes needs storage_path and corpus.path on "
                    "storage that all of them mount at the same place (NFS), or in an object store that all of them may read and write"
                )


def _seen_by_nodes(node_ids: Sequence[str], paths: list[str]) -> dict[str, dict[str, str]]:
    """What each node sees; a node that is lost while it looks is no node of this run any more."""
    names = {node["NodeID"]: f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})" for node in ray.nodes()}
    looking = {
        node_id: ray.remote(look)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False), max_retries=0)
        .remote(paths)
        for node_id in node_ids
    }
    seen = {}
    for node_id, reference in looking.items():
        try:
            seen[names[node_id]] = ray.get(reference, timeout=_WAIT_S)
        except ray.exceptions.RayError as error:
            alive = any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())
            if alive:
                raise ResourceError(f"node {names[node_id]} does not answer whether it sees {paths[0]} ({error})") from error
            log.warning("step=shared node=%s lost", names[node_id])
    return seen
