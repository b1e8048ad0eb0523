"""Manifests as files: YAML or JSON, one document or many."""

from __future__ import annotations

import io
from pathlib import Path

import yaml

from daskjob.core.errors import DaskJobError, FieldError, Invalid
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.names import Kind


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without surprises: a duplicate key is an error; PyYAML would silently use the last."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str) and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} appears twice", key_node.start_mark
            )
        seen.add(key if isinstance(key, str) else str(key))
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


class UnreadableFile(DaskJobError):
    """A file that is not a manifest: it cannot be read, or is not YAML."""


def read_documents(path: Path) -> list[Manifest]:
    """Return every document of a manifest file.

    Raises
    ------
    UnreadableFile
        The file cannot be read, or is not YAML; the message names the line.
    Invalid
        A document is not a mapping of fields.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 text (at byte {error.start}); save it as UTF-8"
        raise UnreadableFile(message) from error
    try:
        documents = _loaded(text, path)
    except yaml.YAMLError as error:
        raise UnreadableFile(f"{path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise UnreadableFile(f"{path} cannot be read: it is nested too deeply") from error
    manifests: list[Manifest] = []
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, dict):
            mistake = FieldError(f"document {number}", document, "write a mapping of fields")
            raise Invalid(str(path), [mistake])
        manifests.append(document)
    return manifests


def _loaded(text: str, path: Path) -> list[object]:
    stream = io.StringIO(text)
    stream.name = str(path)  # errors name it with the line
    loader = _UniqueKeyLoader(stream)
    try:
        found = []
        while loader.check_data():  # type: ignore[no-untyped-call]
            found.append(loader.get_data())
        return [document for document in found if document is not None]
    finally:
        loader.dispose()


def read_job(path: Path) -> tuple[Manifest, list[str]]:
    """Return the only DaskJob of a file, and notes on other objects in it.

    Raises
    ------
    UnreadableFile, Invalid
        The file contains no DaskJob, or several.
    """
    documents = read_documents(path)
    jobs = [document for document in documents if document.get("kind") == Kind.JOB]
    others = [str(document.get("kind")) for document in documents if document not in jobs]
    if not documents:
        raise UnreadableFile(f"{path} is empty; write one DaskJob into it")
    if not jobs:
        kinds = ", ".join(others)
        raise UnreadableFile(f"{path} contains no DaskJob, only {kinds}; add a DaskJob")
    if len(jobs) > 1:
        named = ", ".join(str(metadata(job).get("name", "(unnamed)")) for job in jobs)
        message = f"{path} contains {len(jobs)} DaskJobs ({named}); daskjob runs exactly one"
        raise UnreadableFile(message)
    notes = [f"ignored on this machine: {', '.join(others)} in {path}"] if others else []
    return jobs[0], notes
