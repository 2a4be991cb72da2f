"""The engine on Ray: sessions, Ray Train, Ray Data scoring; wrappers hold no arithmetic.

Importing this package sets what Ray reads from the environment, before any `import ray`; a value that is already set is kept.
"""

import os
from collections.abc import MutableMapping


def set_environment(environment: MutableMapping[str, str]) -> None:
    """Loopback only (for a session of our own), token authentication, no usage statistics, workers at normal niceness and kept for a minute.

    >>> environment = {"RAY_ADDRESS": "10.0.0.1:6379"}
    >>> set_environment(environment)
    >>> "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in environment, environment["RAY_AUTH_MODE"]
    (False, 'token')
    """
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_DATA_USE_DATASOURCE_V2": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Every actor pool of Ray Data logs an error about its own constructor arguments (ray issue 53727), one line a pass.
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }
    if not environment.get("RAY_ADDRESS"):
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Ray ends idle workers after a second, and a round's next step starts them anew: seconds a round where there are few CPUs.
        settings["RAY_idle_worker_killing_time_threshold_ms"] = "60000"
    for name, value in settings.items():
        environment.setdefault(name, value)


set_environment(os.environ)
