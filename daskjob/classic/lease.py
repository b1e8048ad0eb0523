"""The lease of a cluster: how its scheduler notices that the client is gone."""

from __future__ import annotations

import ast
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daskjob.core.desired.agent import (
    AGENT_VARIABLE,
    PRELOAD_VARIABLE,
    bootstrap,
    preloads,
)
from daskjob.core.manifests import Manifest

logger = logging.getLogger("daskjob")

SECONDS_VARIABLE = "DASKJOB_LEASE_SECONDS"
#: Renewals during one lease.
RENEWALS = 3


def lease_variables(container: Manifest, seconds: float) -> dict[str, str]:
    """Return the variables that make a scheduler watch its lease; none without a lease."""
    if seconds <= 0:
        return {}
    source = Path(__file__).with_name("scheduler_lease.py").read_text()
    return {
        PRELOAD_VARIABLE: preloads(_own_preloads(container)),
        AGENT_VARIABLE: bootstrap(source),
        SECONDS_VARIABLE: f"{seconds:g}",
    }


def _own_preloads(container: Manifest) -> list[str]:
    """Return the preloads in a container's environment, as Dask reads them."""
    variables: Mapping[str, Any] = {
        str(one.get("name")): one.get("value") for one in container.get("env") or ()
    }
    given = variables.get(PRELOAD_VARIABLE)
    if not given:
        return []
    try:
        found = ast.literal_eval(str(given))
    except (SyntaxError, ValueError):
        return [str(given)]
    return [str(one) for one in found] if isinstance(found, list | tuple) else [str(found)]


async def renew(scheduler: Any) -> None:
    """Renew the lease by the scheduler's comm; the next renewal repeats one that fails."""
    try:
        await scheduler.daskjob_renew()
    except (OSError, TimeoutError) as error:
        logger.debug("the lease was not renewed: %s", error)
