"""Changes of a running job of this machine, with the contract that they have on a cluster."""

from __future__ import annotations

from daskjob.backends.local.asked_changes import ask
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.command_line import words
from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, mapping, mappings
from daskjob.submit.changes import count_of_workers, scaling, suspension

#: As many as ``daskjob run --workers`` takes: each is a process.
MOST_WORKERS = 1000


def suspend(folder: RunFolder, *, wanted: bool) -> None:
    """Suspend a running job, or resume it.

    Raises
    ------
    Conflict
        The job has ended, or a new attempt of it could not read its script again.
    Timeout
        The process that runs the job does not respond.
    """
    job = folder.job()
    patch = suspension(job, suspend=wanted)
    if wanted and reads_script_from_stdin(job):
        raise Conflict(
            f"{folder.name} has read its script from standard input, which a new attempt could not "
            "read again; it cannot be suspended. Of a script in a file, it is possible"
        )
    if patch is not None and not ask(folder, patch["spec"]):
        suspension(folder.job(), suspend=wanted)


def scale(folder: RunFolder, workers: int) -> None:
    """Set the number of workers of a running job's default group.

    Raises
    ------
    Conflict
        The job has ended, or its workers are scaled automatically.
    Timeout
        The process that runs the job does not respond.
    """
    if workers > MOST_WORKERS:
        raise Conflict(f"{workers} workers are too many for one machine: at most {MOST_WORKERS}")
    scaling(folder.job(), workers)
    if not ask(folder, count_of_workers(workers)["spec"]):
        scaling(folder.job(), workers)


def reads_script_from_stdin(job: Manifest) -> bool:
    """Return whether a job runs ``python -``."""
    runner = mapping(mapping(mapping(job.get("spec")).get("job")).get("spec"))
    command = [word for found in mappings(runner.get("containers"))[:1] for word in words(found)]
    # What follows ``-m`` and ``-c`` is a word of its own.
    first = next((word for word in command[1:] if word == "-" or word[:1] != "-"), "")
    return command[:1] == ["python"] and first == "-"
