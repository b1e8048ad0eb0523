"""Who a task of an orchestrator is, and the names and labels that follow from that. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.names import (
    LABEL_SUBMISSION_ID,
    LABEL_SUBMITTED_BY,
    NAME_LIMIT,
    generated_prefix,
)
from daskjob.submit.records.secret_names import is_secret
from daskjob.submit.records.secret_texts import without_secrets

#: With the digest, a number, and the longest suffix of ours, a name stays within 63 characters.
LONGEST_PREFIX = 30
NAME_DIGITS = 10
LABEL_DIGITS = 40
_HIDDEN = "<hidden>"
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """A task of an orchestrator: the same one for all of its tries."""

    #: Such as ``airflow``: the label ``kubernetes.dask.org/submitted-by``.
    orchestrator: str
    #: What makes the task this task, such as DAG, run, task and map index.
    parts: tuple[str, ...]
    #: The beginning of the job's name, for people; by default that of the manifest.
    prefix: str = ""
    #: More of the job's labels; a value that no label may have is changed.
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The identity as the value of a label; different for different parts."""
        text = json.dumps([self.orchestrator, *self.parts])
        return hashlib.sha256(text.encode()).hexdigest()[:LABEL_DIGITS]

    @property
    def selector(self) -> str:
        """The label selector of all jobs of this task."""
        return f"{LABEL_SUBMISSION_ID}={self.digest}"

    def token(self, number: int) -> str:
        """Return the submissionID of a generation."""
        return f"{self.digest}-g{number}"

    def number_of(self, job: Manifest) -> int | None:
        """Return the generation of a job; ``None``: it is not of this task."""
        token = str(mapping(job.get("spec")).get("submissionID") or "")
        digest, _, number = token.rpartition("-g")
        return int(number) if digest == self.digest and number.isdecimal() else None


def generation_name(identity: Identity, job: Manifest, number: int) -> str:
    """Return the name of a generation of a task whose manifest is ``job``."""
    return f"{name_of(identity, job)}-g{number}"


def name_of(identity: Identity, manifest: Manifest) -> str:
    """Return the name of what a task has only one of, whose manifest this is."""
    meta = metadata(manifest)
    given = str(meta.get("name") or meta.get("generateName") or "")
    label = identity.prefix or given or identity.orchestrator
    prefix = generated_prefix(label)[:LONGEST_PREFIX].rstrip("-")
    return f"{prefix}-{identity.digest[:NAME_DIGITS]}"


def labels_of(identity: Identity) -> dict[str, str]:
    """Return the labels that every job of the task has."""
    own = {key: label_text(_shown(key, text)) for key, text in identity.labels.items()}
    submitted = {LABEL_SUBMITTED_BY: label_text(identity.orchestrator)}
    return {**own, **submitted, LABEL_SUBMISSION_ID: identity.digest}


def annotations_of(identity: Identity) -> dict[str, str]:
    """Return the annotations that every job of the task has, without secret values."""
    return {key: _shown(key, text) for key, text in identity.annotations.items()}


def label_text(text: str) -> str:
    """Return a text as the value of a label; one that is changed ends with 8 digits of its hash."""
    plain = _NOT_IN_LABELS.sub("-", text).strip("-._")
    if plain == text and len(text) <= NAME_LIMIT:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[: NAME_LIMIT - 9].rstrip('-._')}-{digest}".lstrip("-")


def _shown(key: str, text: str) -> str:
    """Return a text without secret values: labels and annotations are read by many."""
    return _HIDDEN if is_secret(key) else without_secrets(text, lambda _name: _HIDDEN)
