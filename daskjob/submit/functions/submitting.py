"""``daskjob.submit``: a function as a job with a Dask cluster of its own; returns its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from daskjob.core.errors import WrongType
from daskjob.submit.functions.call import call_of
from daskjob.submit.functions.job import cluster_submission, local_job, settings_by_key

if TYPE_CHECKING:
    from daskjob.core.manifests import Manifest
    from daskjob.submit.client.async_client import AsyncJobClient
    from daskjob.submit.client.sync_client import JobClient
    from daskjob.submit.local import LocalJobs
    from daskjob.submit.local_async import AsyncLocalJobs


def submit(
    function: Callable[..., Any],
    /,
    *arguments: Any,
    workers: int | None = None,
    client: JobClient | LocalJobs | None = None,
    **settings: Any,
) -> Any:
    """Call a function in a job with a Dask cluster of its own, and return its result.

    ::

        def total(count):
            return dask.bag.range(count, 8).sum().compute()

        if __name__ == "__main__":
            print(daskjob.submit(total, 100, workers=4, memory="4Gi"))

    The function's module is sent with what it imports from its own folders, as ``daskjob submit``
    does. Arguments and result are JSON; the result has at most 4 KiB. An exception in the caller,
    such as KeyboardInterrupt, leaves the job running.

    Parameters
    ----------
    function:
        A function of a module, or of the script that runs; a coroutine function is awaited.
    arguments:
        Its arguments.
    workers:
        Number of workers.
    client:
        Where it runs: a ``JobClient``, or ``JobClient.local()``; by default the cluster of the
        current context.
    settings:
        The other settings of ``daskjob submit``, such as ``memory``, ``image`` or ``retries``.

    Raises
    ------
    WrongArgument, WrongType, UnknownArgument
        The function, an argument or a setting cannot be sent; nothing was started.
    UserFailure
        The function raised, or its result is too large or not JSON.
    Failed
        The job ended without success for another reason.
    """
    from daskjob.submit.local import LocalJobs

    call = call_of(function, arguments)
    given = settings_by_key({"workers": workers, **settings})
    if isinstance(client, LocalJobs):
        here = local_job(call, given)
        _report(here.notes)
        return _result(client, here.manifest, here.owned)
    place = _place(given)
    found = cluster_submission(call, given)
    _report(found.notes)
    if client is not None:
        return _result(client, found.manifest, found.owned)
    from daskjob.submit.client.sync_client import JobClient

    with JobClient(place["namespace"], context=place["context"] or None) as own:
        return _result(own, found.manifest, found.owned)


async def submit_async(
    function: Callable[..., Any],
    /,
    *arguments: Any,
    workers: int | None = None,
    client: AsyncJobClient | AsyncLocalJobs | None = None,
    **settings: Any,
) -> Any:
    """Call a function in a job, as ``submit`` does, without blocking the event loop."""
    from daskjob.submit.local_async import AsyncLocalJobs

    call = call_of(function, arguments)
    given = settings_by_key({"workers": workers, **settings})
    if isinstance(client, AsyncLocalJobs):
        here = local_job(call, given)
        _report(here.notes)
        return await _awaited(client, here.manifest, here.owned)
    place = _place(given)
    found = cluster_submission(call, given)
    _report(found.notes)
    if client is not None:
        return await _awaited(client, found.manifest, found.owned)
    from daskjob.submit.client.async_client import AsyncJobClient

    async with AsyncJobClient(place["namespace"], context=place["context"] or None) as own:
        return await _awaited(own, found.manifest, found.owned)


def _place(given: dict[str, object]) -> dict[str, str]:
    """Return the context and the namespace that settings name."""
    found = {}
    for key in ("context", "namespace"):
        value = given.get(key, "")
        if not isinstance(value, str):
            raise WrongType(f"{key}: {value!r} is no text")
        found[key] = value
    return found


def _report(notes: tuple[str, ...]) -> None:
    import logging

    for note in notes:
        logging.getLogger("daskjob").warning(note)


def _result(client: JobClient | LocalJobs, job: Manifest, owned: Sequence[Manifest]) -> Any:
    ref = client.submit(job, owned=owned)
    return client.wait(ref).status.result


async def _awaited(
    client: AsyncJobClient | AsyncLocalJobs, job: Manifest, owned: Sequence[Manifest]
) -> Any:
    ref = await client.submit(job, owned=owned)
    return (await client.wait(ref)).status.result
