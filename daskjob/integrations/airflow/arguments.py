"""Judges the arguments of operators before anything is started. No I/O, and no Airflow.

It judges twice: what a DAG file has, when Airflow reads it, and what templates became, when the
task runs. Arguments that Airflow resolves later are left to the second time.
"""

from __future__ import annotations

import inspect
import os
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from daskjob.core.errors import UnknownArgument, WrongArgument
from daskjob.core.messages import cut
from daskjob.core.similar_names import did_you_mean


class WrongArguments(WrongArgument):
    """The arguments of an operator do not fit together; nothing was started."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which values an argument may have, and what to write instead of another one."""

    fits: Callable[[Any], bool]
    write: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_words(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_pair(value: Any) -> bool:
    return _is_words(value) and len(value) == 2 and all(_is_whole(item) for item in value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_whole_seconds(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_resources(value: Any) -> bool:
    return _is_table(value) and set(value) <= set(_RESOURCES)


def _is_address(value: Any) -> bool:
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
    except (TypeError, ValueError):
        return False
    return found <= {"name", "namespace", "cluster"}


_RESOURCES = ("cpu", "memory", "gpu", "threads", "gpu-resource")
_TEXT = Rule(_is_text, "a text")
_FILE = Rule(_is_path, "the path of a file")
_TABLE = Rule(_is_table, 'a dictionary, such as {"NAME": "value"}')
_FLAG = Rule(_is_flag, "True or False")
_SECONDS = Rule(_is_seconds, "a number of seconds above 0")
_WHOLE_SECONDS = Rule(_is_whole_seconds, "a whole number of seconds above 0")
#: What an argument may be, by its name: operators with the same argument mean the same by it.
RULES: Mapping[str, Rule] = {
    "job": Rule(lambda value: _is_table(value) or _is_text(value), "a DaskJob, or its YAML"),
    "job_file": _FILE,
    "script": Rule(_is_path, "the path of a script, or the text of a program"),
    "args": Rule(_is_words, 'a list of words, such as ["python", "sums.py"]'),
    "image": _TEXT,
    "name": _TEXT,
    "namespace": _TEXT,
    "env": _TABLE,
    "labels": _TABLE,
    "annotations": _TABLE,
    "settings": Rule(_is_table, 'a dictionary of settings, such as {"threads": 2}'),
    "n_workers": Rule(
        lambda value: _is_whole(value) or (_is_text(value) and value.isdecimal()),
        "a whole number, 0 or more",
    ),
    "adapt": Rule(_is_pair, "the least and the largest number of workers, such as (2, 10)"),
    "worker_resources": Rule(
        _is_resources, 'a dictionary of cpu, memory and gpu, such as {"memory": "4Gi"}'
    ),
    "kubernetes_conn_id": _TEXT,
    "config_file": _FILE,
    "cluster_context": _TEXT,
    "in_cluster": _FLAG,
    "local": _FLAG,
    "durable": _FLAG,
    "wait_for_completion": _FLAG,
    "deferrable": _FLAG,
    "get_logs": _FLAG,
    "log_events_on_failure": _FLAG,
    "startup_timeout_seconds": _WHOLE_SECONDS,
    "idle_timeout_seconds": _WHOLE_SECONDS,
    "operator_timeout_seconds": _SECONDS,
    "ttl_seconds_after_finished": Rule(_is_whole, "a whole number of seconds, 0 or more"),
    "log_tail_on_failure": Rule(_is_whole, "a whole number of lines, 0 or more"),
    "dashboard_url": Rule(
        _is_address, "an address in which only {name}, {namespace} and {cluster} are replaced"
    ),
    "job_name": _TEXT,
    "cluster": Rule(
        lambda value: _is_table(value) or _is_text(value), "a DaskCluster, or the name of one"
    ),
}
#: What settings are called here, by their key.
NAMES: Mapping[str, str] = {
    "workers": "n_workers",
    "adapt": "adapt",
    "image": "image",
    "env": "env",
    "labels": "labels",
    "annotations": "annotations",
    "namespace": "namespace",
    "cpu": "worker_resources: cpu",
    "memory": "worker_resources: memory",
    "gpu": "worker_resources: gpu",
}
_RESOURCES_HINT = 'worker_resources={"memory": "4Gi", "cpu": 2}'
#: What other operators, and commands, call something: KubernetesPodOperator above all.
_ELSEWHERE: Mapping[str, str] = {
    "cmds": "args (with image: the whole command)",
    "arguments": "args",
    "env_vars": "env",
    "container_resources": f'{_RESOURCES_HINT}, and settings={{"runner-memory": "4Gi"}}',
    "service_account_name": 'settings={"service-account": …}',
    "priority_class_name": 'settings={"priority-class": …}',
    "env_from": 'settings={"secrets": […]}',
    "volumes": 'settings={"mounts": ["pvc:CLAIM:/PATH"]}',
    "volume_mounts": 'settings={"mounts": ["pvc:CLAIM:/PATH"]}',
    "pod_template_file": "job_file",
    "pod_template_dict": "job",
    "full_pod_spec": "job",
    "is_delete_operator_pod": 'on_finish_action="delete_job"',
    "reattach_on_restart": "durable",
    "active_deadline_seconds": "execution_timeout=timedelta(…)",
    "timeout": "execution_timeout=timedelta(…)",
    "deadline": "execution_timeout=timedelta(…)",
    "conn_id": "kubernetes_conn_id",
    "context": "cluster_context",
    "command": "args",
    "workers": "n_workers",
    "cpu": _RESOURCES_HINT,
    "memory": _RESOURCES_HINT,
    "gpu": _RESOURCES_HINT,
}


def check(task: str, given: Mapping[str, Any], *, later: Sequence[str] = ()) -> None:
    """Judge arguments, by their name.

    ``later`` are those in which Airflow replaces templates and XComs later.

    Raises
    ------
    WrongArguments
        With every mistake.
    """
    mistakes = [
        f"{name}: {cut(repr(value), 80)} is not allowed; write {RULES[name].write}"
        for name, value in given.items()
        if name in RULES and value is not None
        if not (name in later and _comes_later(value)) and not RULES[name].fits(value)
    ]
    if mistakes:
        raise WrongArguments(f"task {task}: " + "\n".join(mistakes))


def _comes_later(value: Any) -> bool:
    """Return whether Airflow makes another value of it: a template, or the XCom of a task."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return hasattr(value, "iter_references")


@contextmanager
def explained(operator: type[Any], given: Mapping[str, Any]) -> Iterator[None]:
    """Add to Airflow's error about unknown arguments what to write instead of each.

    ``given`` are the arguments that Airflow is to know.
    """
    try:
        yield
    except TypeError as error:
        text, known = str(error), list(inspect.signature(operator.__init__).parameters)
        # Its text has the unknown ones with their values.
        unknown = [name for name in given if f"{name!r}:" in text]
        hints = [line for name in unknown if (line := _hint(name, known))]
        if not hints:
            raise
        raise UnknownArgument("\n".join([text, *hints])) from None


def _hint(name: str, known: Sequence[str]) -> str:
    from daskjob.submit.settings.table import SETTINGS

    if name in _ELSEWHERE and "job" in known:
        return f"{name}: write {_ELSEWHERE[name]}"
    key = name.replace("_", "-")
    if key in SETTINGS and "settings" in known:
        return f'{name}: write settings={{"{key}": …}}'
    similar = did_you_mean(name, known)
    return f"{name}: there is no such argument{similar}" if similar else ""
