"""The chart's CRDs are the ones that the code generates."""

from __future__ import annotations

import json

import yaml

from daskjob.core.schema import crds
from scripts.crds import FOLDER, files

#: The size limit of an annotation, and so of the last-applied one of client-side `kubectl apply`.
ANNOTATIONS_LIMIT_BYTES = 262_144


def test_chart_has_the_crds_that_make_crds_writes() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert found == files(), "run: make crds"


def test_files_are_equal_to_the_crds_of_the_code() -> None:
    assert [yaml.safe_load(text) for text in files().values()] == crds()


def test_file_is_named_after_its_kind() -> None:
    names = ["daskautoscaler.yaml", "daskcluster.yaml", "daskjob.yaml", "daskworkergroup.yaml"]
    assert sorted(files()) == names


def test_file_is_small_enough_for_client_side_apply() -> None:
    # The annotation has the object as JSON.
    applied = [json.dumps(crd, separators=(",", ":")).encode() for crd in crds()]
    assert max(map(len, applied)) < ANNOTATIONS_LIMIT_BYTES / 4
