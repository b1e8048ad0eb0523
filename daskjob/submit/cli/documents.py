"""Manifests as files: YAML or JSON, one document or many."""

from __future__ import annotations

from pathlib import Path

import yaml

from daskjob.core.errors import DaskJobError, FieldError, Invalid
from daskjob.core.manifests import Manifest
from daskjob.core.names import Kind

SUFFIXES = (".yaml", ".yml", ".json")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without surprises: a key that stands twice is a mistake, not a silent choice."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str) and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice", key_node.start_mark
            )
        seen.add(key if isinstance(key, str) else str(key))
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


class Unreadable(DaskJobError):
    """A file that is no manifest: it cannot be read, or is no YAML."""


def read_documents(path: Path) -> list[Manifest]:
    """Return every document of a manifest file.

    Raises
    ------
    Unreadable
        The file cannot be read, or is no YAML; with the line.
    Invalid
        A document is no mapping of fields.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
    try:
        documents = [d for d in yaml.load_all(text, _UniqueKeyLoader) if d is not None]
    except yaml.YAMLError as error:
        raise Unreadable(f"{path} is no YAML: {error}") from error
    except RecursionError as error:
        raise Unreadable(f"{path} is no YAML that can be read: it is nested too deeply") from error
    for index, document in enumerate(documents):
        if not isinstance(document, dict):
            mistake = FieldError(f"document {index}", document, "write a mapping of fields")
            raise Invalid(str(path), [mistake])
    return documents


def read_job(path: Path) -> tuple[Manifest, list[str]]:
    """Return the one DaskJob of a file, and notes on what else is in it.

    Raises
    ------
    Unreadable, Invalid
        The file holds no DaskJob, or several.
    """
    documents = read_documents(path)
    jobs = [document for document in documents if document.get("kind") == Kind.JOB]
    if len(jobs) != 1:
        kinds = ", ".join(str(document.get("kind")) for document in documents) or "nothing"
        allowed = "a file to run holds exactly one DaskJob"
        raise Invalid(str(path), [FieldError("kind", kinds, allowed)])
    others = [str(d.get("kind")) for d in documents if d is not jobs[0]]
    notes = [f"not on this machine: {', '.join(others)} of {path}"] if others else []
    return jobs[0], notes
