"""Exactly-once submission at any place, as decisions about values. No I/O.

The name of a job follows from its token, so a name that is taken is either the same submission or
another one. Which one it is shows in the submissionID and in the fingerprint of the templates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, mapping, metadata, object_ref
from daskjob.core.names import Kind
from daskjob.core.spec import DaskJob, parse, read
from daskjob.core.status import job_status_from
from daskjob.submit.submission_names import new_token, submission_id, submission_name

#: How many differences a message shows, and how much of each value.
DIFFERENCES = 5
_SHOWN = 60
_ABSENT = object()


class Step(Enum):
    """What to do after a response to the creation of a job."""

    #: Look at the object that has the name.
    LOOK = auto()
    #: Create again, under the same name.
    REPEAT = auto()
    #: It is the job of this submission.
    ADOPT = auto()


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that is ready to be created, any number of times, with one outcome."""

    manifest: Manifest
    token: str
    spec_hash: str

    @property
    def name(self) -> str:
        """The job's name."""
        return str(metadata(self.manifest)["name"])

    @property
    def namespace(self) -> str:
        """The job's namespace."""
        return str(metadata(self.manifest)["namespace"])


def submission(job: Manifest, *, namespace: str, token: str | None = None) -> Submission:
    """Return the submission of a manifest.

    A token makes the name: ``<name>-<hash>``. Without one, the manifest's own name is kept; a
    manifest without a name, or with a ``generateName``, gets a random one.

    Raises
    ------
    Invalid
        With every mistake of the manifest.
    """
    meta, spec = metadata(job), mapping(job.get("spec"))
    given = token or str(spec.get("submissionID") or "")
    used = given or new_token()
    label = str(meta.get("generateName") or meta.get("name") or "job")
    keeps_name = bool(meta.get("name")) and not token
    name = str(meta["name"]) if keeps_name else submission_name(label, used)
    wanted = {
        **{key: value for key, value in job.items() if key != "status"},
        "metadata": {
            **{key: value for key, value in meta.items() if key != "generateName"},
            "name": name,
            "namespace": namespace,
        },
        "spec": {**spec, "submissionID": submission_id(used)},
    }
    return Submission(wanted, submission_id(used), parse(DaskJob, wanted).template_hash)


def after_look(found: Manifest | None, wanted: Submission) -> Step:
    """Return the next step after a look at the object that has the name.

    Raises
    ------
    Conflict
        It belongs to another submission; the message shows the difference.
    """
    if found is None:
        return Step.REPEAT
    if metadata(found).get("deletionTimestamp"):
        return Step.REPEAT
    theirs = str(mapping(found.get("spec")).get("submissionID") or "")
    if theirs != wanted.token:
        raise Conflict(
            f"{object_ref(found)} exists and belongs to another submission "
            f"({theirs or 'without a token'}); choose another name, or give a token"
        )
    if wanted.spec_hash in (job_status_from(found.get("status")).spec_hash, _hash_of(found)):
        return Step.ADOPT
    shown = "; ".join(differences(_templates(found), _templates(wanted.manifest)))
    raise Conflict(
        f"{object_ref(found)} was submitted with this token, but with another spec "
        f"({shown}); give another token for another job"
    )


def still_deleting(wanted: Submission) -> Conflict:
    """Return the error for a name whose previous object does not go away."""
    return Conflict(
        f"{Kind.JOB} {wanted.namespace}/{wanted.name} is still being deleted; submit it again later"
    )


def _hash_of(found: Manifest) -> str:
    return read(DaskJob, found)[0].template_hash


def _templates(job: Manifest) -> Manifest:
    """Return what the fingerprint is about."""
    spec = mapping(job.get("spec"))
    return {key: spec[key] for key in ("job", "cluster", "clusterRef") if key in spec}


def differences(old: Manifest, new: Manifest, limit: int = DIFFERENCES) -> list[str]:
    """Return the differences between two values, each as ``path: old → new``."""
    found: list[str] = []
    for path, before, after in _differences("spec", old, new):
        if len(found) == limit:
            return [*found, "…"]
        found.append(f"{path}: {_short(before)} → {_short(after)}")
    return found


def _differences(path: str, old: object, new: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(f"{path}.{key}", old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{path}[{index}]", before, after)
    elif old != new:
        yield path, old, new


def _short(value: object) -> str:
    if value is _ABSENT:
        return "absent"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
