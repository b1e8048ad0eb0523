"""Whatever a place has as settings is read, or is a mistake with a message; nothing crashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cluster_job.job import script_job
from daskjob.submit.cluster_job.variables import parse_env_file
from daskjob.submit.settings.merge import merged
from daskjob.submit.settings.sources import Layer, WrongSettings, default_layer
from daskjob.submit.settings.table import SETTINGS
from tests.submit.test_cluster_job import PROGRAM

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
#: Text in which the syntax of settings is frequent.
WORDS = st.sampled_from(
    [
        *("pvc", "secret", "a", "A", "1", "2:10", ":", "=", ",", "/", "/x", "..", "[0]", "[", "]"),
        *(".", "spec", "metadata", "labels", "job", "containers", "Gi", "m", "-1", "1e99", "²"),
        *("\0", "ä"),
    ]
)
TEXTS = st.one_of(st.text(max_size=12), st.lists(WORDS, max_size=8).map("".join))
SCALARS = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.binary(max_size=3)
)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(TEXTS, st.integers()), inner)
    ),
    max_leaves=6,
)


def message_of(call: Callable[[], object]) -> str:
    """The message of a mistake; empty if there is none. Any other exception fails the test."""
    try:
        call()
    except WrongSettings as error:
        return str(error)
    return ""


@pytest.mark.parametrize("key", [k for k, s in SETTINGS.items() if not s.flag_only])
@given(value=VALUES)
@QUICK
def test_any_value_is_read_or_is_a_mistake(key: str, value: object) -> None:
    message = message_of(lambda: merged([Layer("place", {key: value})]))
    assert message.startswith(f"place: {key}: ") or not message


@given(path=TEXTS, value=VALUES)
@example(path="spec.job.spec.containers[99999999999999999999].image", value="x")
@example(path="spec.job.spec.containers[²].image", value="x")
@example(path="spec.job.spec.containers", value="null")
@example(path="metadata", value={})
@example(path="metadata.name", value=None)
@example(path="spec.cluster", value=None)
@QUICK
def test_any_path_is_set_or_is_a_mistake(path: str, value: object) -> None:
    def job() -> object:
        found = merged([default_layer(), Layer("place", {"image": "x", "set": {path: value}})])
        return script_job(PROGRAM, found.settings)

    message_of(job)


@given(text=st.one_of(TEXTS, st.lists(st.sampled_from("AB=\"'# \n\r\texport")).map("".join)))
@QUICK
def test_any_file_of_variables_is_read_or_is_a_mistake(text: str) -> None:
    message = message_of(lambda: parse_env_file(text, "file", {"A": "1"}))
    assert message.startswith("file, line ") or not message


def test_the_examples_of_all_settings_together_are_a_valid_job() -> None:
    import tomllib

    values = {
        key: tomllib.loads(f"x = {setting.kind.example}")["x"]
        for key, setting in SETTINGS.items()
        if not setting.flag_only
    }
    found = merged([default_layer(), Layer("place", values)])
    parse(DaskJob, script_job(PROGRAM, found.settings).manifest)
