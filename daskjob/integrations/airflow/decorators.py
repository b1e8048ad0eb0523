"""``@task.daskjob``: a function whose code runs as a DaskJob."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from daskjob.integrations.airflow import errors
from daskjob.integrations.airflow.arguments import WrongArguments
from daskjob.integrations.airflow.operators import DaskJobOperator
from daskjob.integrations.airflow.sources import Source, task_program
from daskjob.integrations.airflow.task import Task


class _DaskJobDecoratedOperator(DecoratedOperator, DaskJobOperator):
    """Runs the source of a function, alone: it imports what it needs itself."""

    custom_operator_name = "@task.daskjob"
    template_fields: Sequence[str] = tuple(
        {"op_args", "op_kwargs", *DaskJobOperator.template_fields}
        - {"job", "job_file", "script", "args"}
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "op_args": "py",
        "op_kwargs": "py",
    }
    shallow_copy_attrs: Sequence[str] = ("python_callable",)

    def __init__(self, **kwargs: Any) -> None:
        sources = [name for name in ("job", "job_file", "script", "args") if name in kwargs]
        if sources:
            with errors.airflow_errors():
                raise WrongArguments(
                    f"task {kwargs.get('task_id')}: {', '.join(sources)}: the decorated function "
                    "is what runs; call it with its arguments, or use DaskJobOperator"
                )
        super().__init__(**kwargs)
        #: The decorated function has no other source.
        self.job = self.job_file = self.script = self.args = None

    def source(self, task: Task) -> Source:
        """Return the program that calls the function."""
        text = task_program(
            self.python_callable, self.get_python_source(), tuple(self.op_args), self.op_kwargs
        )
        return Source(
            text=text,
            settings=self._settings(task),
            label=self.name or self.task_id,
            folder=self._folder,
        )


def daskjob_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Run a function as a DaskJob; what it returns, as JSON of at most 4 KiB, is the result.

    The arguments are those of ``DaskJobOperator``. Only the function's own code is sent: it imports
    what it needs, and its arguments are JSON.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_DaskJobDecoratedOperator,
        **kwargs,
    )
