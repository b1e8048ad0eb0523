"""The DaskJob of a task, from what its operator was given: a manifest, a script, or an image.

Arguments change a manifest as the options of ``daskjob submit`` do.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from daskjob.core.manifests import Manifest, metadata
from daskjob.core.messages import cut
from daskjob.core.names import Kind, generated_prefix
from daskjob.integrations.airflow.arguments import NAMES, WrongArguments
from daskjob.submit.cluster_job.image import environment_versions
from daskjob.submit.cluster_job.program import Program, Sent, Sources, script_program
from daskjob.submit.cluster_job.submission import (
    Submission,
    manifest_submission,
    script_submission,
)
from daskjob.submit.local import local_script_job
from daskjob.submit.script import ScriptOptions, default_shape
from daskjob.submit.settings.merge import Merged, merged
from daskjob.submit.settings.sources import arguments_layer, default_layer


@dataclass(frozen=True, slots=True)
class Source:
    """What a task runs: exactly one of a manifest, a script, a text and a command."""

    #: A DaskJob, or its YAML.
    job: Manifest | str | None = None
    #: What messages call it, such as its file.
    origin: str = "the DaskJob"
    #: The path of a script; relative to the folder of the DAG.
    script: str = ""
    #: A program that is in no file.
    text: str = ""
    args: Sequence[str] = ()
    #: By key of ``docs/settings.md``.
    settings: Mapping[str, object] = field(default_factory=dict)
    #: What names the job.
    label: str = "job"
    folder: Path = Path()

    def check(self) -> None:
        """Raise ``WrongArguments`` unless there is exactly one source."""
        given = {"job or job_file": self.job, "script": self.script, "program": self.text}
        found = [name for name, value in given.items() if value]
        if len(found) > 1:
            raise WrongArguments(f"{' and '.join(found)}: one excludes the other")
        if not found and not self.args:
            raise WrongArguments("name what to run: job, job_file, script, or image with args")
        if self.job and self.args:
            raise WrongArguments("args: a manifest has the arguments of its runner; change that")


def manifest_on_cluster(source: Source) -> Submission:
    """Return the submission of a task's DaskJob, with notes.

    Raises
    ------
    WrongArguments, WrongSettings, UnfitCode, NoImage, UnreadableFile, Invalid
        The source, or a setting, cannot be used.
    """
    source.check()
    versions = environment_versions(os.environ)
    if source.job:
        found = merged([arguments_layer(source.settings, NAMES)])
        return manifest_submission(_manifest(source), found, versions=versions)
    # Its own name: the generation rule adds a hash.
    named = {"name": generated_prefix(source.label).rstrip("-"), **source.settings}
    settings = merged([default_layer(), arguments_layer(named, NAMES)])
    if settings.settings.code:
        raise WrongArguments("settings: code is for scripts of daskjob submit; write a job_file")
    made = script_submission(_program(source, settings), settings, versions=versions)
    if made.code:
        raise WrongArguments(
            "script: with its files it is more than the 900 KiB of text that a task's DaskJob "
            "carries; put them into the image, or write a job_file with spec.code"
        )
    return made


def manifest_on_this_machine(source: Source) -> Manifest:
    """Return the DaskJob of a task for this machine.

    Raises
    ------
    WrongArguments, WrongSettings, UnreadableFile, Invalid
        As ``manifest_on_cluster``.
    """
    source.check()
    if source.job:
        versions = environment_versions(os.environ)
        found = merged([arguments_layer(source.settings, NAMES)])
        return manifest_submission(_manifest(source), found, versions=versions).manifest
    settings = merged([arguments_layer(source.settings, NAMES)]).settings
    workers, threads = default_shape(os.cpu_count() or 1)
    options = ScriptOptions(
        workers if settings.workers is None else settings.workers,
        settings.threads or threads,
        memory=settings.memory,
        retries=settings.retries or 0,
        timeout_seconds=settings.deadline,
        env=settings.env,
        python_path=str(_script(source).parent if source.script else source.folder),
        folder=str(source.folder.absolute()),
    )
    return local_script_job(_local_words(source), options, source.label)


def _local_words(source: Source) -> list[str]:
    if source.text:
        return [sys.executable, "-c", source.text, *source.args]
    if source.script:
        return [sys.executable, str(_script(source)), *source.args]
    return list(source.args)


def _manifest(source: Source) -> Manifest:
    from daskjob.submit.cli.documents import UnreadableFile, check_document

    job, origin = source.job or {}, source.origin
    if isinstance(job, str):
        import yaml

        try:
            documents = [item for item in yaml.safe_load_all(job) if item is not None]
        except yaml.YAMLError as error:
            raise UnreadableFile(f"{origin} is not valid YAML: {error}") from None
        if len(documents) != 1 or not isinstance(documents[0], dict):
            raise UnreadableFile(
                f"{origin}: write one DaskJob; the text has {len(documents)} documents"
                if len(documents) != 1
                else f"{origin}: write a DaskJob: the text {cut(job, 80)!r} is no mapping of "
                "fields; the path of a file is job_file"
            )
        job = documents[0]
    if (kind := job.get("kind")) != Kind.JOB:
        raise UnreadableFile(f"{origin}: its kind is {kind!r}; write kind: DaskJob")
    named = {**job, "metadata": {"name": "job", **metadata(job)}}
    check_document(named)
    return job


def _program(source: Source, settings: Merged) -> Program:
    if source.text:
        from daskjob.submit.cluster_job.code import read_code

        code = read_code({}, {"task.py": source.text})
        return Program(("python", Sent("task.py"), *source.args), source.label, code)
    if not source.script:
        return Program(tuple(source.args), source.label)
    files = tuple(source.folder / name for name in settings.settings.files)
    found = script_program(
        _script(source), Sources(files=files), before=(), after=tuple(source.args)
    )
    return replace(found, label=source.label)


def _script(source: Source) -> Path:
    path = source.folder / source.script
    if not path.is_file():
        raise WrongArguments(
            f"script: there is no file {path}; the text of a program has more than one line"
        )
    # The folder of the DAG may be a symbolic link, as git-sync makes one.
    return path.resolve()


def file_in(folder: Path, name: str) -> Path:
    """Return the path of a file that an operator names.

    Raises
    ------
    WrongArguments
        There is none.
    """
    path = folder / name
    if not path.is_file():
        raise WrongArguments(f"job_file: there is no file {path}")
    return path


def task_program(function: Any, source: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the program that calls a function, and writes what it returns as the job's result.

    Raises
    ------
    WrongArguments
        An argument is no JSON: what a program on a cluster gets is text.
    """
    import json

    try:
        given = json.dumps({"args": args, "kwargs": kwargs})
    except (TypeError, ValueError) as error:
        raise WrongArguments(
            f"the arguments of {function.__name__} must be JSON, which a cluster gets as text: "
            f"{error}"
        ) from None
    from daskjob.submit.functions import call_program

    # It judges results: the program runs in an image that may have no daskjob.
    judge = Path(call_program.__file__).read_text(encoding="utf-8")
    name = function.__name__
    text = inspect.cleandoc(_CALL).format(source=source, name=name, given=given, judge=judge)
    return text + "\n"


_CALL = """
import json as _json

{source}

if __name__ == "__main__":
    _given = _json.loads({given!r})
    _result = {name}(*_given["args"], **_given["kwargs"])
    if _result is not None:
        _judge = {{"__name__": "daskjob_result"}}
        exec({judge!r}, _judge)
        _judge["write"](_judge["result_text"](_result, {name!r}))
"""
