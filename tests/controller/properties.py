"""Numbers of examples of the interleaving tests; see ``tests/core/test_guarantees.py``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = os.environ.get("DASKJOB_PROPERTY_EXAMPLES")
STORIES = settings(
    max_examples=int(EXAMPLES or 150),
    derandomize=EXAMPLES is None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
