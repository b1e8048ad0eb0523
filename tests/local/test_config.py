"""ConfigMaps and Secrets of a job's file: variables, files, modes, and what is missing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from daskjob.backends.local.config import (
    Config,
    Facts,
    config_of,
    field_of,
    missing,
    value_from,
    variables_from,
)
from daskjob.backends.local.volumes import fill_volume

FACTS = Facts(memory_bytes=8 * 2**30, processors=4)
POD = {
    "metadata": {"name": "a-runner", "uid": "u", "labels": {"b": "2", "a": "1"}},
    "spec": {"containers": [{"name": "other", "resources": {"limits": {"cpu": "1500m"}}}]},
}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


CONFIG = config_of(
    [
        {
            "kind": "ConfigMap",
            "metadata": {"name": "c"},
            "data": {"a": "1", "b.txt": "two\n"},
            "binaryData": {"bin": encoded(b"\0\xff")},
        },
        {
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": "default"},
            "data": {"user": encoded(b"ada"), "pw": encoded(b"old")},
            "stringData": {"pw": "new"},
        },
        {"kind": "Secret", "metadata": {"name": "elsewhere", "namespace": "other"}},
    ]
)


def test_data_of_the_jobs_namespace_is_found_and_plain_text_wins() -> None:
    assert CONFIG.get("Secret", "s") == {"user": b"ada", "pw": b"new"}
    assert CONFIG.get("Secret", "elsewhere") is None
    assert CONFIG.get("ConfigMap", "s") is None
    assert "new" not in repr(CONFIG)


def test_object_without_a_namespace_is_in_the_jobs() -> None:
    objects = [{"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}]
    assert config_of(objects, "team").get("Secret", "s") == {"a": b"b"}


@pytest.mark.parametrize(
    ("sources", "variables"),
    [
        ([{"secretRef": {"name": "s"}}], {"user": "ada", "pw": "new"}),
        ([{"prefix": "T_", "configMapRef": {"name": "c"}}], {"T_a": "1", "T_b.txt": "two\n"}),
        ([{"configMapRef": {"name": "no", "optional": True}}], {}),
        (
            [{"configMapRef": {"name": "c"}}, {"prefix": "", "secretRef": {"name": "s"}}],
            {"a": "1", "b.txt": "two\n", "user": "ada", "pw": "new"},
        ),
    ],
)
def test_all_keys_become_variables(
    sources: list[dict[str, Any]], variables: dict[str, str]
) -> None:
    assert variables_from({"envFrom": sources}, CONFIG) == variables


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"secretKeyRef": {"name": "s", "key": "pw"}}, "new"),
        ({"configMapKeyRef": {"name": "c", "key": "a"}}, "1"),
        ({"configMapKeyRef": {"name": "c", "key": "z", "optional": True}}, None),
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "a-runner"),
        ({"fieldRef": {"fieldPath": "metadata.labels['a']"}}, "1"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "127.0.0.1"),
        ({"fieldRef": {"fieldPath": "spec.serviceAccountName"}}, "default"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "2"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "8192"),
        ({"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Ki"}}, "0"),
        ({"resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}}, "2"),
        (
            {
                "resourceFieldRef": {
                    "containerName": "other",
                    "resource": "limits.cpu",
                    "divisor": "1m",
                }
            },
            "1500",
        ),
    ],
)
def test_value_of_a_variable(source: dict[str, Any], value: str | None) -> None:
    container = {"name": "main", "resources": {"limits": {"cpu": "1500m"}}}
    assert value_from(source, container, POD, CONFIG, FACTS) == value


def test_labels_are_written_as_the_downward_api_writes_them() -> None:
    assert field_of("metadata.labels", POD) == 'a="1"\nb="2"'


def files(folder: Path) -> dict[str, tuple[str, int]]:
    """Path → text and mode of the files below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes().decode(errors="replace"),
            path.stat().st_mode & 0o777,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (
            {"configMap": {"name": "c"}},
            {"a": ("1", 0o644), "b.txt": ("two\n", 0o644), "bin": ("\0\ufffd", 0o644)},
        ),
        (
            {"configMap": {"name": "c", "items": [{"key": "a", "path": "x/y"}]}},
            {"x/y": ("1", 0o644)},
        ),
        (
            {
                "configMap": {
                    "name": "c",
                    "defaultMode": 0o755,
                    "items": [{"key": "a", "path": "run"}, {"key": "a", "path": "r", "mode": 256}],
                }
            },
            {"run": ("1", 0o755), "r": ("1", 0o400)},
        ),
        ({"secret": {"secretName": "s"}}, {"user": ("ada", 0o600), "pw": ("new", 0o600)}),
        (
            {
                "secret": {
                    "secretName": "s",
                    "defaultMode": 0o777,
                    "items": [{"key": "pw", "path": "p"}],
                }
            },
            {"p": ("new", 0o700)},
        ),
        ({"secret": {"secretName": "no", "optional": True}}, {}),
        (
            {
                "projected": {
                    "defaultMode": 0o644,
                    "sources": [
                        {"secret": {"name": "s", "items": [{"key": "pw", "path": "pw"}]}},
                        {"configMap": {"name": "c", "items": [{"key": "a", "path": "d/a"}]}},
                        {
                            "downwardAPI": {
                                "items": [
                                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}
                                ]
                            }
                        },
                    ],
                }
            },
            {"pw": ("new", 0o600), "d/a": ("1", 0o644), "name": ("a-runner", 0o644)},
        ),
    ],
)
def test_volume_has_its_files_with_their_modes(
    tmp_path: Path, volume: dict[str, Any], expected: dict[str, tuple[str, int]]
) -> None:
    folder = tmp_path / "volume"
    for _ in range(2):  # a restarted container finds the same
        assert fill_volume({"name": "v", **volume}, folder, {}, POD, CONFIG, FACTS)
        assert files(folder) == expected
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out"])
def test_path_outside_of_its_volume_is_rejected(tmp_path: Path, path: str) -> None:
    volume = {"configMap": {"name": "c", "items": [{"key": "a", "path": path}]}}
    with pytest.raises(ValueError, match="no path inside"):
        fill_volume(volume, tmp_path / "volume", {}, POD, CONFIG, FACTS)


def test_volume_of_another_kind_is_left_to_the_machine(tmp_path: Path) -> None:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "a"}}
    assert not fill_volume(volume, tmp_path / "v", {}, POD, Config(), FACTS)


@pytest.mark.parametrize(
    ("spec", "place", "advice"),
    [
        (
            {"volumes": [{"configMap": {"name": "d"}}]},
            "volumes[0].configMap",
            "there is no ConfigMap 'd' in the file; add it to the file as a document of its own "
            "(kind: ConfigMap); it has c",
        ),
        (
            {"volumes": [{"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}}]},
            "volumes[0].secret",
            "the Secret 's' has no key 'z'; it has pw, user",
        ),
        (
            {"volumes": [{"projected": {"sources": [{}, {"secret": {"name": "t"}}]}}]},
            "volumes[0].projected.sources[1].secret",
            "there is no Secret 't'",
        ),
        (
            {"containers": [{"envFrom": [{"secretRef": {"name": "t"}}]}]},
            "containers[0].envFrom[0].secretRef",
            "there is no Secret 't'",
        ),
        (
            {
                "initContainers": [
                    {"env": [{"valueFrom": {"configMapKeyRef": {"name": "c", "key": "z"}}}]}
                ]
            },
            "initContainers[0].env[0].valueFrom.configMapKeyRef",
            "the ConfigMap 'c' has no key 'z'; it has a, b.txt, bin",
        ),
    ],
)
def test_missing_object_or_key_is_named_with_what_to_do(
    spec: dict[str, Any], place: str, advice: str
) -> None:
    (found,) = missing(spec, "spec.job.spec", CONFIG)
    assert str(found).startswith(f"spec.job.spec.{place}: ConfigMissing: {advice}")
    optional = {**spec}
    assert not list(missing(_optional(optional), "spec", CONFIG))


def _optional(value: Any) -> Any:
    """The same spec with every reference optional."""
    if isinstance(value, list):
        return [_optional(item) for item in value]
    if not isinstance(value, dict):
        return value
    more = {"optional": True} if {"name", "secretName"} & set(value) else {}
    return {key: _optional(item) for key, item in value.items()} | more
