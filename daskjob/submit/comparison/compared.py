"""What differs between two jobs, or between two attempts of one. No I/O.

Each difference is one line for people: what, and both values. The image comes first, by its digest
where that is known: a tag that was pushed again is the difference that nobody looks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import zip_longest
from typing import Any, TypeAlias

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, integer, mapping, mappings, metadata
from daskjob.core.names import files_name
from daskjob.core.quantity import duration, format_peak
from daskjob.core.status import JobStatus, job_status_from
from daskjob.core.status.job import Attempt
from daskjob.submit.again import own_code
from daskjob.submit.comparison.packages import package_differences, without_packages
from daskjob.submit.records.secret_names import is_secret
from daskjob.submit.records.secret_values import missing_values, without_secret_values

#: How much of a value a line shows.
_SHOWN = 60
#: Of one job only, and not a difference of what it does.
_OWN = frozenset({"submissionID", "cancel", "suspend"})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: What a line shows of two secret values.
_TEXTS = ("a secret value", "another one")
#: The path of a template's main container.
_MAIN = "spec.containers[0]."
#: Digits of a digest, as in docker's lists.
_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs; an absent value is ``None``."""

    #: Such as ``image``, ``env``, ``resources``.
    topic: str
    #: Such as ``runner``, or the path of a field.
    what: str
    before: Any
    after: Any

    def __str__(self) -> str:
        name = " ".join(dict.fromkeys(filter(None, [self.topic, self.what])))
        return f"{name}: {shown(self.before)} → {shown(self.after)}"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two jobs."""

    manifest: Manifest
    #: The digests of the images that ran, by role; empty where they are not known.
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> JobStatus:
        """The job's status."""
        return job_status_from(self.manifest.get("status"))


def compared(one: Side, other: Side) -> tuple[Difference, ...]:
    """Return what differs between two jobs: what ran, what was asked for, and what came of it."""
    found = [*_images(one, other), *_packages(one, other), *_spec(one, other)]
    return (*found, *_outcomes(one, other))


def compared_attempts(
    job: Side, first: int, second: int, digests: Mapping[int, str] | None = None
) -> tuple[Difference, ...]:
    """Return what differs between two attempts of a job.

    Raises
    ------
    NotFound
        One of them did not end, or its record is not kept.
    """
    one, other = _attempt(job, first), _attempt(job, second)
    images = [(digests or {}).get(number, "") for number in (first, second)]
    found = [Difference("image", "digest of runner", *map(_short_digest, images))]
    if not all(images):
        found = []
    pairs = [
        ("result", "exit code", one.exit_code, other.exit_code),
        ("result", "reason", one.reason, other.reason),
        ("result", "message", one.message, other.message),
        ("time", "duration", _took(one), _took(other)),
        ("time", "start", _moment(one.start_time), _moment(other.start_time)),
        ("time", "end", _moment(one.end_time), _moment(other.end_time)),
    ]
    found += [Difference(*pair) for pair in pairs]
    return tuple(item for item in found if item.before != item.after)


def _attempt(job: Side, number: int) -> Attempt:
    for attempt in job.status.attempts:
        if attempt.number == number:
            return attempt
    name = metadata(job.manifest).get("name")
    known = ", ".join(str(attempt.number) for attempt in job.status.attempts)
    raise NotFound(
        f"{name} has no ended attempt {number}; ended attempts: {known or 'none'} (the first is 0)"
    )


# What ran


def _images(one: Side, other: Side) -> Iterator[Difference]:
    before, after = _templates(one.manifest), _templates(other.manifest)
    digests = _digests(one, before), _digests(other, after)
    for role in dict.fromkeys([*before, *after]):
        pair = [found.get(role) for found in digests]
        if all(pair) and pair[0] != pair[1]:
            yield Difference("image", f"digest of {role}", *map(_short_digest, pair))
    pairs = {
        role: (_container(before.get(role)).get("image"), _container(after.get(role)).get("image"))
        for role in dict.fromkeys([*before, *after])
        if role in before and role in after
    }
    for (was, now), roles in _by_value(pairs):
        yield Difference("image", f"of {roles}", was, now)
    versions = {
        role: tuple(_versions(str(image or "")) for image in images)
        for role, images in pairs.items()
    }
    for (was, now), roles in _by_value(versions):
        if was and now:
            yield Difference("versions", f"of {roles}", was, now)


def _packages(one: Side, other: Side) -> Iterator[Difference]:
    for name, was, now in package_differences(one.manifest, other.manifest):
        yield Difference("package", name, was or None, now or None)


def _by_value(pairs: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield each pair of values that differ, once, with all that have it."""
    for pair in dict.fromkeys(pairs.values()):
        if pair[0] != pair[1]:
            roles = [role for role, values in pairs.items() if values == pair]
            yield pair, "all pods" if len(roles) == len(pairs) > 1 else ", ".join(roles)


def _digests(side: Side, templates: Mapping[str, Manifest]) -> dict[str, str]:
    """Return the digest of each role's image: of the one that ran, or that the spec names."""
    found = {}
    for role, template in templates.items():
        image = str(_container(template).get("image") or "")
        match = _DIGEST.search(side.digests.get(role, "")) or _DIGEST.search(image)
        if match:
            found[role] = match[0]
    return found


def _short_digest(digest: Any) -> str:
    return str(digest)[:_DIGITS]


def _versions(image: str) -> str:
    from daskjob.submit.cluster_job.image import image_versions

    found = image_versions(image)
    if found is None:
        return ""
    python = f", Python {found.python}" if found.python else ""
    return f"dask {found.dask}{python}"


# What was asked for


#: A field that differs: the role, the path, and both values.
_Field: TypeAlias = tuple[str, str, Any, Any]


def _spec(one: Side, other: Side) -> Iterator[Difference]:
    before, after = _templates(one.manifest), _templates(other.manifest)
    spec = [("", *item) for item in _unequal("", _rest(one.manifest), _rest(other.manifest))]
    env: list[_Field] = []
    resources: list[_Field] = []
    for role in dict.fromkeys([*before, *after]):
        if role not in before or role not in after:
            there = [None if role not in found else "present" for found in (before, after)]
            spec.append((role, "", there[0], there[1]))
            continue
        was, now = _container(before[role]), _container(after[role])
        env += [(role, *item) for item in _unequal_env(was, now)]
        limits = (mapping(container.get("resources")) for container in (was, now))
        resources += [(role, *item) for item in _unequal("", *limits)]
        rest = (_without_parts(found[role]) for found in (before, after))
        spec += [(role, path.removeprefix(_MAIN), *item) for path, *item in _unequal("", *rest)]
    yield from _merged("spec", spec)
    yield from _merged("env", env)
    yield from _merged("resources", resources)


def _merged(topic: str, fields: Iterable[_Field]) -> Iterator[Difference]:
    """Yield differences, those of several roles with the same values as one."""
    found: dict[tuple[str, str, str], tuple[list[str], Difference]] = {}
    for role, path, before, after in fields:
        key = (path, repr(before), repr(after))
        first = Difference(topic, path, before, after)
        found.setdefault(key, ([], first))[0].append(role)
    for roles, item in found.values():
        yield replace(item, what=" ".join(filter(None, [", ".join(roles), item.what])))


def _templates(job: Manifest) -> dict[str, Manifest]:
    """Return the pod templates by role: runner, scheduler, worker, and additional groups."""
    spec = mapping(job.get("spec"))
    cluster = mapping(mapping(spec.get("cluster")).get("spec"))
    found = {
        "runner": spec.get("job"),
        "scheduler": cluster.get("scheduler"),
        "worker": cluster.get("worker"),
    }
    for group in mappings(cluster.get("workerGroups")):
        found[f"group-{group.get('name')}"] = group
    return {role: template for role, template in found.items() if isinstance(template, dict)}


def _container(template: object) -> Manifest:
    containers = mappings(mapping(mapping(template).get("spec")).get("containers"))
    return containers[0] if containers else {}


def _without_parts(template: Manifest) -> Manifest:
    """Return a template without what has lines of its own: image, variables, resources."""
    spec = mapping(template.get("spec"))
    first, *others = mappings(spec.get("containers")) or [{}]
    rest = {k: v for k, v in first.items() if k not in ("image", "env", "resources")}
    return {**template, "spec": {**spec, "containers": [rest, *others]}}


def _rest(job: Manifest) -> Manifest:
    """Return the spec without its pod templates."""
    spec = {k: v for k, v in mapping(job.get("spec")).items() if k not in {*_OWN, "job"}}
    spec = without_packages(spec)
    if isinstance(spec.get("cluster"), dict):
        cluster = mapping(mapping(spec["cluster"]).get("spec"))
        kept = {
            k: v for k, v in cluster.items() if k not in ("scheduler", "worker", "workerGroups")
        }
        spec["cluster"] = {**spec["cluster"], "spec": kept}
    return spec


def _unequal_env(was: Manifest, now: Manifest) -> Iterator[tuple[str, Any, Any]]:
    before, after = (
        {str(item.get("name")): item.get("value", item.get("valueFrom", "")) for item in found}
        for found in (mappings(was.get("env")), mappings(now.get("env")))
    )
    for name in dict.fromkeys([*before, *after]):
        values = before.get(name), after.get(name)
        if values[0] == values[1] or any(missing_values({"": value}) for value in values):
            # A record has no secret values to compare.
            continue
        if is_secret(name) or any(_has_secret(value) for value in values):
            texts = _TEXTS if None not in values else (_TEXTS[0], _TEXTS[0])
            values = _hidden(values[0], texts[0]), _hidden(values[1], texts[1])
        yield name, *values


def _has_secret(value: Any) -> bool:
    """Return whether a part of a value is secret under any name, such as a password in a URL."""
    return bool(missing_values(without_secret_values({"": value})))


def _hidden(value: Any, text: str) -> Any:
    """Return what a line shows instead of a secret value."""
    return text if isinstance(value, str) else value


def _unequal(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields that differ; a text of several lines by its first line that does."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _unequal(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _unequal(f"{path}[{index}]", before, after)
    elif isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
        yield from _changed_text(path, old, new)
    elif old != new:
        yield path, old, new


def _changed_text(path: str, old: str, new: str) -> Iterator[tuple[str, Any, Any]]:
    before, after = old.splitlines(), new.splitlines()
    for number, (was, now) in enumerate(zip_longest(before, after), 1):
        if was != now:
            yield f"{path}, from line {number} on", was, now
            return


# What came of it


def _outcomes(one: Side, other: Side) -> Iterator[Difference]:
    was, now = one.status, other.status
    pairs = [
        ("counts", "attempts", was.attempts_begun, now.attempts_begun),
        *_counts(was, now),
        ("result", "phase", was.phase, now.phase),
        ("result", "reason", was.reason, now.reason),
        ("result", "exit code", was.exit_code, now.exit_code),
    ]
    for pair in pairs:
        if pair[2] != pair[3]:
            yield Difference(*pair)
    for what, before, after in _unequal("value", was.result, now.result):
        yield Difference("result", what, before, after)
    times = [("duration", _took(was), _took(now))]
    times += [("start", _moment(was.start_time), _moment(now.start_time))]
    for what, before, after in times:
        if before != after:
            yield Difference("time", what, before, after)


def _counts(was: JobStatus, now: JobStatus) -> Iterator[tuple[str, str, Any, Any]]:
    reports = mapping(was.report), mapping(now.report)
    tasks = [mapping(report.get("tasks")) for report in reports]
    workers = [mapping(report.get("workers")) for report in reports]
    for what, pair, key in (
        ("tasks done", tasks, "done"),
        ("tasks erred", tasks, "erred"),
        ("workers at peak", workers, "peak"),
        ("workers lost", workers, "lost"),
    ):
        yield "counts", what, pair[0].get(key), pair[1].get(key)
    yield "counts", "peak memory of a worker", _peak(reports[0]), _peak(reports[1])
    seconds = [report.get("computeSeconds") for report in reports]
    yield "counts", "compute seconds", seconds[0], seconds[1]


def _peak(report: Manifest) -> str | None:
    rows = mapping(report.get("peakMemory")).get("rows")
    sizes = [row[1] for row in rows if isinstance(row, list)] if isinstance(rows, list) else []
    least = integer(mapping(report.get("peakMemory")).get("atLeast")) or 0
    return format_peak(int(max(sizes, default=0)), least) if sizes or least else None


def _took(ended: JobStatus | Attempt) -> str | None:
    if ended.start_time is None or ended.end_time is None:
        return None
    return duration(ended.end_time - ended.start_time)


def _moment(moment: datetime | None) -> str | None:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else None


def shown(value: Any) -> str:
    """Return a value as a line shows it."""
    if value is None or value == "":
        return "none"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def without_own_names(job: Manifest) -> Manifest:
    """Return a job with the names that follow from its own name replaced, for a comparison."""
    import json

    name = str(metadata(job).get("name") or "")
    if not name:
        return job
    spec = json.dumps(job.get("spec") or {})
    for own in (files_name(name), f"{name}-env", *own_code(job)):
        spec = spec.replace(json.dumps(own), json.dumps(own.replace(name, "JOB", 1)))
    return {**job, "spec": json.loads(spec)}
