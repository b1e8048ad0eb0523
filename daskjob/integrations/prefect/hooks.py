"""Hooks of a flow that end its jobs, in whatever process Prefect runs them.

::

    @flow(on_cancellation=[cancel_daskjobs_hook], on_crashed=[cancel_daskjobs_hook])
    def nightly(): ...

Jobs are found by the label that they have of their flow run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from daskjob.core.errors import DaskJobError, WrongType
from daskjob.integrations.prefect.identity import LABEL_FLOW_RUN
from daskjob.integrations.prefect.job_run import blocking
from daskjob.integrations.prefect.places import Place, of_cluster, this_machine
from daskjob.integrations.prefect.release import OnCancel, release

if TYPE_CHECKING:
    from daskjob.integrations.prefect.block import DaskJob

Hook = Callable[[Any, Any, Any], None]


def cancel_daskjobs_hook(flow: Any, flow_run: Any, state: Any) -> None:
    """Cancel the jobs of a flow run: on this machine, and in the namespace of the kubeconfig.

    ``cancelling_daskjobs(block)`` returns the hook for the place of a block.
    """
    del flow, state
    _cancel(flow_run, (this_machine, of_cluster("", None)), "cancel")


def cancelling_daskjobs(block: DaskJob) -> Hook:
    """Return a hook that ends a flow run's jobs in the place of a block, by its ``on_cancel``."""
    if not hasattr(block, "on_cancel"):
        raise WrongType(f"cancelling_daskjobs: {block!r:.80} is no block DaskJob; write one")

    def hook(flow: Any, flow_run: Any, state: Any) -> None:
        del flow, state
        _cancel(flow_run, (block.jobs,), block.on_cancel)

    return hook


def _cancel(flow_run: Any, places: tuple[Place, ...], action: OnCancel) -> None:
    from prefect.logging.loggers import flow_run_logger

    logger = flow_run_logger(flow_run)
    labels = {LABEL_FLOW_RUN: str(flow_run.id)}
    for place in places:
        try:
            names = blocking(partial(release, place, action, labels=labels))
        except (DaskJobError, OSError, TimeoutError) as error:
            logger.warning("jobs of the flow run were not looked for: %s", error)
        else:
            for name in names:
                logger.info("DaskJob %s: %s", name, action)
