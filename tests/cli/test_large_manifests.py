"""Manifests with many fields, too large ones, and YAML that libyaml and PyYAML read alike."""

from __future__ import annotations

import os
import time

import pytest
import yaml

from daskjob.core.errors import FieldError
from daskjob.submit.cli import yaml_reading
from daskjob.submit.cli.documents import _merged, read_documents
from tests.cli.command import Daskjob
from tests.cli.in_process import call

JOB = "apiVersion: kubernetes.dask.org/v1\nkind: DaskJob\nmetadata:\n  name: a\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{JOB}  labels:\n" + "    k: v\n" * 400_000, "job.yaml is too large for a manifest: 3.4"),
        (
            f"{JOB}---\n{JOB}#" + "x" * 4_000_000,
            "job.yaml (document 2) is too large for a manifest",
        ),
        (
            (JOB + "---\n") * 400_000,
            "too large for a file of manifests: daskjob reads at most 24 M",
        ),
    ],
)
@pytest.mark.parametrize("words", [("validate",), ("why", "-f"), ("submit", "-f")])
def test_manifest_that_no_api_server_accepts_is_rejected_unread(
    daskjob: Daskjob, text: str, expected: str, words: tuple[str, ...]
) -> None:
    path = daskjob.work / "job.yaml"
    path.write_text(text)
    started = time.process_time()
    done = call((*words, path), daskjob.environment)
    assert time.process_time() - started < 3
    assert done.code == 125
    assert expected in done.err
    assert "on a volume or in an object store" in done.err


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
@pytest.mark.parametrize("words", [("validate",), ("why", "-f")])
def test_manifest_with_20_000_mappings_takes_seconds(
    daskjob: Daskjob, words: tuple[str, ...]
) -> None:
    path = daskjob.work / "job.yaml"
    fields = "".join(f"    k{number}: {{x: {number}}}\n" for number in range(20_000))
    path.write_text(f"{JOB}  labels:\n{fields}spec: {{}}\n")
    # 5 s and more by PyYAML; the mistakes compared with each other took minutes.
    started = time.process_time()
    done = call((*words, path), daskjob.environment)
    assert time.process_time() - started < 5
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "a: [1, 2\nb: 3\n",
        "a: b: c\n",
        "\ta: 1\n",
        "a: &x 1\nb: *y\n",
        "a: 'unclosed\n",
        "a: !!python/object:os.x {}\n",
        "a: @b\n",
        "a:\n  - b\n c: d\n",
        'a: "\\q"\n',
        "a: 1\n---\nb: \x01\n",
        "a: {{ .Values.x }}\n",
        "? [a]\n: 1\n",
        "<<: 3\n",
    ],
)
def test_message_about_wrong_yaml_does_not_depend_on_libyaml(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = []
    for loader in (yaml_reading._LibraryLoader, yaml_reading._PythonLoader):
        monkeypatch.setattr(yaml_reading, "_LibraryLoader", loader)
        with pytest.raises(yaml.YAMLError) as caught:
            yaml_reading.load_all(text, "job.yaml")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "job.yaml" in messages[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base: &b {x: 1}\na: {<<: *b, y: 2}\n", {"base": {"x": 1}, "a": {"x": 1, "y": 2}}),
        ("2: a\ntrue: b\n", {2: "a", True: "b"}),
        ("a: &l [1]\nb: *l\n", {"a": [1], "b": [1]}),
        ("a: 0x10\nb: 1_000\nc: on\nd: ~\n", {"a": 16, "b": 1000, "c": True, "d": None}),
    ],
)
def test_yaml_is_read_as_pyyaml_reads_it(
    text: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert yaml_reading.load_all(text, "job.yaml") == [expected]
    monkeypatch.setattr(yaml_reading, "_LibraryLoader", yaml_reading._PythonLoader)
    assert yaml_reading.load_all(text, "job.yaml") == [expected]


def test_documents_below_the_limit_of_one_are_read_together(daskjob: Daskjob) -> None:
    path = daskjob.work / "job.yaml"
    config = "kind: ConfigMap\napiVersion: v1\ndata: {x: '%s'}\n" % ("x" * 2_000_000)
    path.write_text("---\n".join([config] * 3))
    assert len(read_documents(path)) == 3


def test_mistake_below_another_one_is_left_out() -> None:
    def mistake(path: str, allowed: str = "write a number") -> FieldError:
        return FieldError(path, "x", allowed)

    first = [mistake("spec.a"), mistake("spec.b.c")]
    others = [
        mistake("spec.a.x"),
        mistake("spec.a[0].y"),
        mistake("spec.ab"),
        mistake("spec.b"),
        mistake("spec.ab.c"),
        mistake("spec.b.c.d", "write a list of strings: [a]"),
        mistake("metadata.labels[team]"),
        mistake("metadata.labels.team"),
    ]
    paths = [found.path for found in _merged(first, others)]
    # A better message about a place below replaces one.
    assert paths == ["spec.a", "spec.b.c.d", "spec.ab", "spec.b", "metadata.labels[team]"]


def test_pipe_is_read_as_a_manifest(daskjob: Daskjob) -> None:
    path = daskjob.work / "pipe"
    os.mkfifo(path)
    process = daskjob.start("why", "-f", path)
    path.write_text(JOB)
    assert b"a has no status" in process.communicate()[0]
