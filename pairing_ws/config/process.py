"""What the process was given beside its settings: how many descriptors, and a folder for metrics that workers share."""

import os
import resource

_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(folder: str) -> None:
    """Processes started from now on keep their metrics there: prometheus_client has no other way to know."""
    os.environ[_METRICS_FOLDER] = folder


def shared_metrics() -> str | None:
    """The folder in which several processes keep their metrics, if they do."""
    return os.environ.get(_METRICS_FOLDER) or None


def descriptors() -> int:
    """How many files and connections this process may have open; 0 if as many as it likes."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft
