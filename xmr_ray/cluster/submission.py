"""What a job is known by: the same work has the same id, so a job server refuses to start it twice."""

import hashlib
import json

from xmr_ray import storage
from xmr_ray.config import Experiment, expand


def submission_id(experiment: Experiment, *, corpus_fingerprint: str, attempt: int = 1) -> str:
    """The id to give to `ray job submit --submission-id`: name, hash of what would be done and where, attempt.

    Ray refuses an id that it knows, whether that job runs, failed or ended. While an attempt runs, submitting it again is therefore refused;
    after it failed, the next attempt has another id and goes on from the run directory. What changes no result (resources, the report) is not
    in the hash.
    """
    work = [[run.run_id, run.fingerprint(corpus_fingerprint)] for run in expand(experiment)]
    content = json.dumps([storage.join(experiment.storage_path, experiment.name), work])
    return f"{experiment.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}-{attempt}"
