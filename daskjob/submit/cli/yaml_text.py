"""Manifests as YAML for people: code and other text of several lines as it was written."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from daskjob.core.manifests import Manifest


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(objects: Sequence[Manifest]) -> str:
    """Return objects as YAML documents, without anchors and Python types."""
    plain = json.loads(json.dumps(list(objects)))
    text: str = yaml.dump_all(plain, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return text.rstrip()
