"""Operators whose trigger fails. DAG files import them, so this module imports little."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from daskjob.integrations.airflow import DaskJobOperator, DaskJobTrigger


class TriggererWithoutPermission(DaskJobOperator):
    """With a triggerer whose service account may do nothing."""

    def trigger_arguments(self, ref: Any) -> dict[str, Any]:
        """Return them, with the triggerer's own connection."""
        return {**super().trigger_arguments(ref), "kubernetes_conn_id": "nobody"}


class CrashingTrigger(DaskJobTrigger):
    """Fails in a way that nothing foresees, the first time that a triggerer runs it."""

    async def run(self) -> AsyncIterator[Any]:
        """Fail, or wait for the job."""
        marker = Path(os.environ["AIRFLOW_HOME"], "crashed")
        if not marker.exists():
            marker.touch()
            raise RuntimeError("a crash of the trigger")
        async for event in super().run():
            yield event


class CrashingOperator(DaskJobOperator):
    """With a trigger that fails once."""

    trigger_cls = CrashingTrigger
