"""What the readers of the specs say of right and wrong manifests.

tests/kubernetes/test_crds.py shows that an API server says the same.
"""

from __future__ import annotations

import pytest

from daskjob.core.errors import Invalid
from daskjob.core.manifests import Manifest
from daskjob.core.spec import CLASSES, parse
from tests.core.specimens import NO_WORDS, RIGHT, WRONG, Wrong, sloppy_job


def parse_any(manifest: Manifest) -> object:
    """What a person's manifest asks for."""
    return parse(CLASSES[manifest["kind"]], manifest)


@pytest.mark.parametrize("title", RIGHT)
def test_right_manifest_has_no_mistake(title: str) -> None:
    parse_any(RIGHT[title])


def test_null_words_are_absent() -> None:
    manifest = sloppy_job()
    manifest["spec"].update(NO_WORDS)
    parse_any(manifest)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.title)
def test_wrong_manifest_has_its_one_mistake(wrong: Wrong) -> None:
    with pytest.raises(Invalid) as caught:
        parse_any(wrong.manifest)
    (mistake,) = caught.value.errors
    assert mistake.path == wrong.path
    assert mistake.allowed
