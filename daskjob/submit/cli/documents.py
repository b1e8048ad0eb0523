"""Manifests as files: YAML or JSON, one document or many, or Kubernetes' ``kind: List``."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from daskjob.core.errors import DaskJobError, FieldError, Invalid
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.names import API_VERSION, Kind
from daskjob.core.spec import CLASSES, parse
from daskjob.core.spec.kubernetes_objects import (
    Unknown,
    is_known,
    object_mistakes,
    template_mistakes,
)
from daskjob.core.spec.pod_rules import pod_mistakes
from daskjob.submit.cli.manifest_hints import hinted, yaml_hint
from daskjob.submit.cli.yaml_reading import load_all

#: An API server accepts no larger object; a file may have several.
MOST_BYTES_OF_ONE = 3 * 2**20
MOST_BYTES = 8 * MOST_BYTES_OF_ONE
_SEPARATOR = re.compile(r"^---(?=\s)", re.MULTILINE)
#: The kinds beside a job that this machine provides to it.
CONFIG_KINDS = ("ConfigMap", "Secret")
#: The kinds of Kubernetes' ``v1``.
_CORE_KINDS = (
    *CONFIG_KINDS,
    *("Pod", "Service", "ServiceAccount", "Namespace", "PersistentVolumeClaim", "PersistentVolume"),
    *("Endpoints", "Event", "LimitRange", "Node", "PodTemplate", "ReplicationController"),
    *("ResourceQuota", "Binding"),
)
#: The fields of an object of daskjob.
_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")


class UnreadableFile(DaskJobError):
    """A file that is not a manifest: it cannot be read, or is not YAML."""


def read_documents(path: Path) -> list[Manifest]:
    """Return every document of a manifest file; ``-`` is standard input.

    Raises
    ------
    UnreadableFile
        The file cannot be read, or is not YAML; the message names the line.
    Invalid
        A document is not a mapping of fields.
    """
    manifests, mistakes = all_documents(path)
    if mistakes:
        raise Invalid(str(path), mistakes)
    return manifests


def all_documents(path: Path) -> tuple[list[Manifest], list[FieldError]]:
    """Return every document of a file that is a mapping, and a mistake for each that is none.

    Raises
    ------
    UnreadableFile
        The file cannot be read, or is not YAML; the message names the line.
    """
    _reject_other_place(path)
    try:
        text = _data(path).decode("utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 text (at byte {error.start}); save it as UTF-8"
        raise UnreadableFile(message) from error
    _reject_large(text, path)
    try:
        documents = load_all(text, str(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        hint = yaml_hint(text, mark.line if mark else None)
        language = "JSON" if path.suffix == ".json" else "YAML"
        raise UnreadableFile(f"{path} is not valid {language}: {error}{hint}") from error
    except RecursionError as error:
        raise UnreadableFile(f"{path} cannot be read: it is nested too deeply") from error
    found = [
        item
        for number, document in enumerate(documents, start=1)
        for item in _objects(document, f"document {number}")
    ]
    mistakes = [item for item in found if isinstance(item, FieldError)]
    return [item for item in found if not isinstance(item, FieldError)], mistakes


def _reject_other_place(path: Path) -> None:
    """Raise ``UnreadableFile`` for a URL or a folder, with what to write instead."""
    url = re.match(r"(https?|ftp|s3|gs|file):/+(.*)", str(path))
    if url:
        whole = f"{url[1]}://{url[2]}"
        raise UnreadableFile(f"{whole} is a URL; read it first: curl -fsSLO '{whole}'")
    if path.is_dir():
        raise UnreadableFile(f"{path} is a folder; name its files, such as {path / '*.yaml'}")


def _data(path: Path) -> bytes:
    """Return the content of a file, up to a little more than what is accepted."""
    if str(path) == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _reject_large(text: str, path: Path) -> None:
    """Raise ``UnreadableFile`` for what no API server accepts; to read it would take minutes."""
    hint = "data belongs on a volume or in an object store"
    if len(text) >= MOST_BYTES:
        raise UnreadableFile(
            f"{path} is too large for a file of manifests: daskjob reads at most "
            f"{MOST_BYTES >> 20} MiB; {hint}"
        )
    sizes = [len(document) for document in _SEPARATOR.split(text)]
    for number, size in enumerate(sizes, start=1):
        if size > MOST_BYTES_OF_ONE:
            which = f" (document {number})" if len(sizes) > 1 else ""
            raise UnreadableFile(
                f"{path}{which} is too large for a manifest: {size / 2**20:.1f} MiB; an API server "
                f"accepts at most {MOST_BYTES_OF_ONE >> 20} MiB; {hint}"
            )


def _objects(document: object, place: str) -> Iterator[Manifest | FieldError]:
    """Yield the document, or the objects of a list in it; a mistake for anything else."""
    if not isinstance(document, dict):
        yield FieldError(place, document, "write a mapping of fields")
        return
    items = document.get("items")
    if not str(document.get("kind")).endswith("List"):
        yield document
    elif items is None or isinstance(items, list):
        for index, item in enumerate(items or ()):
            yield from _objects(item, f"{place}.items[{index}]")
    else:
        yield FieldError(f"{place}.items", items, "write a list of objects")


@dataclass(frozen=True, slots=True)
class JobFile:
    """The DaskJob of a file, with what the file has beside it."""

    job: Manifest
    #: ConfigMaps and Secrets.
    config: tuple[Manifest, ...] = ()
    notes: tuple[str, ...] = ()


def read_job(path: Path) -> JobFile:
    """Return the only DaskJob of a file, its ConfigMaps and Secrets, and notes on other objects.

    Raises
    ------
    UnreadableFile, Invalid
        The file contains no DaskJob, or several, or a wrong ConfigMap or Secret.
    """
    job, others = only_job(path)
    config = [document for document in others if document["kind"] in CONFIG_KINDS]
    notes = [f"ignored in {path}: {field}" for d in (job, *config) for field in unknown_fields(d)]
    ignored = [document["kind"] for document in others if document not in config]
    notes += [f"ignored on this machine: {', '.join(ignored)} in {path}"] if ignored else []
    return JobFile(job, tuple(config), tuple(notes))


def only_job(path: Path) -> tuple[Manifest, list[Manifest]]:
    """Return the only DaskJob of a file, unchecked, and the other objects.

    Raises
    ------
    UnreadableFile, Invalid
        The file contains no DaskJob, or several, or something without a kind.
    """
    documents = read_documents(path)
    if not documents:
        raise UnreadableFile(f"{path} is empty; write one DaskJob into it")
    for number, document in enumerate(documents, start=1):
        check_kind(document, f"{path}, document {number}" if len(documents) > 1 else str(path))
    jobs = [document for document in documents if document["kind"] == Kind.JOB]
    others = [document for document in documents if document["kind"] != Kind.JOB]
    if not jobs:
        kinds = ", ".join(document["kind"] for document in others)
        raise UnreadableFile(f"{path} contains no DaskJob, only {kinds}; add a DaskJob")
    if len(jobs) > 1:
        named = ", ".join(str(metadata(job).get("name", "(unnamed)")) for job in jobs)
        message = f"{path} contains {len(jobs)} DaskJobs ({named}); daskjob runs exactly one"
        raise UnreadableFile(message)
    return jobs[0], others


def saved_jobs(path: Path) -> list[Manifest]:
    """Return all DaskJobs of a file, unchecked: there is at least one.

    Raises
    ------
    UnreadableFile, Invalid
        The file contains none, or something without a kind.
    """
    documents = read_documents(path)
    for number, document in enumerate(documents, start=1):
        check_kind(document, f"{path}, document {number}")
    jobs = [document for document in documents if document["kind"] == Kind.JOB]
    # Its messages are about a file without a job.
    return jobs or [only_job(path)[0]]


def check_kind(document: Manifest, place: str) -> None:
    """Raise ``Invalid`` for a document without a kind."""
    kind = document.get("kind")
    if not isinstance(kind, str) or not kind:
        allowed = "write the kind of the object, such as " + ", ".join([*Kind, *CONFIG_KINDS])
        raise Invalid(place, [FieldError("kind", kind, allowed)])


def check_document(document: Manifest) -> bool:
    """Check one object as strictly as the API server; return whether its kind can be checked.

    Raises
    ------
    Invalid
        With every mistake.
    """
    kind = document["kind"]
    name = str(metadata(document).get("name") or "(unnamed)")
    if kind in list(Kind):
        _check_ours(document, f"{kind} {name}")
        return True
    if wrong := _wrong_kind(document, kind):
        raise Invalid(name, [wrong])
    if not is_known(kind):
        return False
    mistakes = _mistakes_of_core(document, kind)
    if mistakes:
        raise Invalid(f"{kind} {name}", [_without_secret(kind, mistake) for mistake in mistakes])
    return True


def unknown_fields(document: Manifest) -> Sequence[FieldError]:
    """Check one object; return its fields that Kubernetes drops, and a newer one may know.

    Raises
    ------
    Invalid
        It has other mistakes.
    """
    try:
        check_document(document)
    except Invalid as error:
        if not all(isinstance(mistake, Unknown) for mistake in error.errors):
            raise
        return error.errors
    return ()


def _wrong_kind(document: Manifest, kind: str) -> FieldError | None:
    """Return the mistake of a kind that its API does not have."""
    version = document.get("apiVersion")
    is_ours = kind.lower() in [known.lower() for known in Kind]
    if is_ours or version == API_VERSION:
        return FieldError("kind", kind, "write one of " + ", ".join(Kind))
    if version in (None, ""):
        return None if is_known(kind) else FieldError("apiVersion", None, f"write that of {kind}")
    if version == "v1" and kind not in _CORE_KINDS:
        near = difflib.get_close_matches(kind.lower(), [k.lower() for k in _CORE_KINDS], n=1)
        meant = [known for known in _CORE_KINDS if near and known.lower() == near[0]]
        hint = f"did you mean {meant[0]!r}? " if meant else ""
        return FieldError("kind", kind, f"{hint}v1 of Kubernetes has no such kind")
    return None


def _without_secret(kind: str, mistake: FieldError) -> FieldError:
    """Return a mistake without the value of a Secret: messages end in logs."""
    if kind != "Secret" or mistake.path.startswith(("metadata", "apiVersion", "kind")):
        return mistake
    return replace(mistake, value="(its value)") if mistake.value is not None else mistake


def _check_ours(document: Manifest, subject: str) -> None:
    mistakes: list[FieldError] = []
    try:
        parse(CLASSES[Kind(document["kind"])], document)
    except Invalid as error:
        mistakes += error.errors
    mistakes = _merged(mistakes, _mistakes_around(document) + template_mistakes(document))
    # A name of a wrong type is read as a missing one.
    wrong = {mistake.path for mistake in mistakes if mistake.value is not None}
    mistakes = [m for m in mistakes if m.value is not None or m.path not in wrong]
    if mistakes:
        raise Invalid(subject, [hinted(mistake) for mistake in mistakes])


def _merged(mistakes: list[FieldError], others: list[FieldError]) -> list[FieldError]:
    """Return the mistakes, and those of the others that are not about a place below one of them.

    A better message replaces one about the same place. There may be as many as a manifest has
    lines, so each is compared with the places above it only.
    """
    found = list(mistakes)
    places: dict[str, int] = {}
    for index, mistake in enumerate(found):
        for place in _places(mistake):
            places.setdefault(place, index)
    for mistake in others:
        path = _plain(mistake.path)
        above = (path[: end + 1] for end, letter in enumerate(path) if letter in ".[")
        known = min((places[place] for place in above if place in places), default=None)
        if known is None:
            known = len(found)
            found.append(mistake)
        elif "write a list of strings:" in mistake.allowed:
            for place in _places(found[known]):
                places.pop(place, None)
            found[known] = mistake
        else:
            continue
        for place in _places(mistake):
            places.setdefault(place, known)
    return found


def _places(mistake: FieldError) -> tuple[str, str]:
    """Return how paths begin that are at, or below, that of a mistake."""
    return _plain(mistake.path), mistake.path + "["


def _plain(path: str) -> str:
    """Return a path that ends with a dot, with keys of maps after dots: ``labels[team]``."""
    return re.sub(r"\[([^\d\]][^\]]*)\]", r".\1", path) + "."


def _mistakes_around(document: Manifest) -> list[FieldError]:
    """Return the mistakes of an object of daskjob outside of its spec."""
    found: list[FieldError] = []
    for key in document:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            fields = ", ".join(_FIELDS[:-1])
            found.append(Unknown(str(key), document[key], f"{hint}an object has {fields}"))
    return found + object_mistakes("ObjectMeta", document.get("metadata"), "metadata")


def _mistakes_of_core(document: Manifest, kind: str) -> list[FieldError]:
    """Return the mistakes of an object of Kubernetes' core kinds."""
    mistakes: list[FieldError] = []
    if document.get("apiVersion") != "v1":
        mistakes.append(FieldError("apiVersion", document.get("apiVersion"), "write v1"))
    if not metadata(document).get("name") and isinstance(document.get("metadata"), dict | None):
        mistakes.append(FieldError("metadata.name", None, f"write the name of the {kind}"))
    mistakes += object_mistakes(kind, document)
    if kind == "Pod":
        mistakes += pod_mistakes(mapping(document.get("spec")), "spec")
    mistakes = [hinted(mistake) for mistake in mistakes]
    return mistakes + (_wrong_keys(document) if kind in CONFIG_KINDS else [])


def _wrong_keys(document: Manifest) -> list[FieldError]:
    """Return the keys of a ConfigMap or Secret that are no file names."""
    allowed = "write a key of letters, digits, '-', '_' or '.'; a volume's items name its path"
    return [
        FieldError(f"{part}[{key}]", key, allowed)
        for part in ("data", "binaryData", "stringData")
        if isinstance(document.get(part), dict)
        for key in document[part]
        if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", str(key)) or key in (".", "..")
    ]
