"""The readers of the specs accept right manifests and report wrong ones.

tests/kubernetes/test_crds.py shows that an API server does the same.
"""

from __future__ import annotations

import pytest

from daskjob.core.errors import Invalid
from daskjob.core.manifests import Manifest
from daskjob.core.spec import CLASSES, parse
from tests.core.specimens import NULL_ENUMS, RIGHT, WRONG, Wrong, sloppy_job


def parse_any(manifest: Manifest) -> object:
    """The object of a user's manifest."""
    return parse(CLASSES[manifest["kind"]], manifest)


@pytest.mark.parametrize("title", RIGHT)
def test_right_manifest_has_no_mistake(title: str) -> None:
    parse_any(RIGHT[title])


def test_null_enums_are_absent() -> None:
    manifest = sloppy_job()
    manifest["spec"].update(NULL_ENUMS)
    parse_any(manifest)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.title)
def test_wrong_manifest_has_its_one_mistake(wrong: Wrong) -> None:
    with pytest.raises(Invalid) as caught:
        parse_any(wrong.manifest)
    (mistake,) = caught.value.errors
    assert mistake.path == wrong.path
    assert mistake.allowed
