"""How much is tried, and from which seed: `scripts/fuzz` says so in the environment."""

import os
from typing import Any

from hypothesis import HealthCheck, settings

# How many times as much as in the default suite.
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


def effort(examples: int, **more: Any) -> settings:
    """So many examples in the default suite, always the same ones. Shared servers outlive each of them."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
