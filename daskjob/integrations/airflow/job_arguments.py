"""The DaskJob of a task, from the rendered arguments of its operator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskjob.core.manifests import Manifest, mapping
from daskjob.integrations.airflow import errors
from daskjob.integrations.airflow.arguments import WrongArguments
from daskjob.integrations.airflow.lineage import parent_variables

if TYPE_CHECKING:
    import logging

    from daskjob.integrations.airflow.sources import Source
    from daskjob.integrations.airflow.task import Task


class JobArguments:
    """The arguments of ``DaskJobOperator`` about the job itself."""

    job: Manifest | str | None
    job_file: str | None
    image: str | None
    args: Sequence[str] | None
    script: str | None
    env: Mapping[str, str] | None
    n_workers: int | None
    adapt: tuple[int, int] | None
    worker_resources: Mapping[str, object] | None
    settings: Mapping[str, object] | None
    name: str | None
    namespace: str | None
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    local: bool
    on_conflict: str
    startup_timeout_seconds: int | None
    ttl_seconds_after_finished: int | None
    if TYPE_CHECKING:
        log: logging.Logger
        task_id: str
        get_dag: Any
        render_template: Any

    def _manifest(self, task: Task) -> Manifest:
        from daskjob.integrations.airflow import sources

        source = self.source(task)
        if self.local:
            job = sources.manifest_on_this_machine(source)
        else:
            found = sources.manifest_on_cluster(source)
            for note in found.notes:
                self.log.info("%s", note)
            job = found.manifest
        defaults = {
            "startupDeadlineSeconds": self.startup_timeout_seconds,
            "ttlSecondsAfterFinished": self.ttl_seconds_after_finished,
        }
        if self.local:
            return job
        spec = {**{k: v for k, v in defaults.items() if v is not None}, **mapping(job.get("spec"))}
        return {**job, "spec": spec}

    def source(self, task: Task) -> Source:
        """Return what runs, from the rendered arguments."""
        from daskjob.integrations.airflow.sources import Source

        folder, job = self._folder, self.job
        if self.job_file:
            if job:
                raise errors.Permanent("job and job_file: one excludes the other")
            job = self._rendered_file(folder, self.job_file, task)
        script = os.fspath(self.script or "")
        is_text = "\n" in script
        return Source(
            job=job,
            origin=f"job_file {self.job_file}" if self.job_file else "the DaskJob",
            script="" if is_text else script,
            text=script if is_text else "",
            args=[str(word) for word in self.args or ()],
            settings=self._settings(task),
            label=self.name or self.task_id,
            folder=folder,
        )

    def _rendered_file(self, folder: Path, name: str, task: Task) -> str:
        from jinja2 import TemplateError

        from daskjob.integrations.airflow.sources import file_in

        path = file_in(folder, name)
        try:
            return str(self.render_template(path.read_text(encoding="utf-8"), task.context))
        except (OSError, UnicodeDecodeError) as error:
            raise WrongArguments(f"job_file: {path} cannot be read: {error}") from None
        except TemplateError as error:
            raise WrongArguments(f"job_file: {path} cannot be rendered: {error}") from None

    @property
    def _folder(self) -> Path:
        dag = self.get_dag()
        return Path(dag.folder) if dag is not None else Path.cwd()

    def _settings(self, task: Task) -> dict[str, object]:
        """Return the arguments as the options of ``daskjob submit``."""
        found: dict[str, object] = dict(self.settings or {})
        lineage = parent_variables(task.instance) if self.on_conflict == "reattach" else {}
        env = {**task.variables(), **lineage, **(self.env or {})}
        given: dict[str, object] = {
            "image": self.image,
            "workers": self.n_workers,
            "adapt": f"{self.adapt[0]}:{self.adapt[1]}" if self.adapt else None,
            "labels": self.labels,
            "annotations": self.annotations,
            "namespace": self.namespace,
            **(self.worker_resources or {}),
        }
        found |= {key: value for key, value in given.items() if value not in (None, {}, "")}
        found["env"] = {**env, **mapping(found.get("env"))}
        return found
