"""The command line: kopf's flags, the chart's variables, and what is refused."""

from __future__ import annotations

import logging

import pytest

from daskjob.controller.logs import LogFormat
from daskjob.controller.options import Options, parse
from daskjob.controller.probes import Address


def options(*words: str, **environment: str) -> Options:
    return parse(words, environment)


def test_documented_kopf_arguments_are_understood() -> None:
    found = options("--liveness=http://0.0.0.0:8080/healthz", "--all-namespaces", "--verbose")
    assert found.namespaces.everywhere
    assert found.addresses == (Address("0.0.0.0", 8080, "/healthz"),)
    assert found.level == logging.DEBUG
    assert found.remarks == ()


def test_nothing_said_means_all_namespaces_a_lease_and_lines_for_people() -> None:
    found = options()
    assert found.namespaces.everywhere
    assert found.lease
    assert found.addresses == ()
    assert (found.level, found.log_format, found.traces) == (logging.INFO, LogFormat.FULL, False)
    assert found.platform.legacy_commands
    assert found.platform.istio_excluded
    assert "def dask_setup" in found.platform.agent


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--namespace=my-namespace"], ("my-namespace",)),
        (["-n", "b", "-n", "a"], ("a", "b")),
        (["--namespace", "a,b"], ("a", "b")),
    ],
)
def test_namespaces_are_named_once_often_or_in_a_list(
    words: list[str], names: tuple[str, ...]
) -> None:
    assert options(*words).namespaces.names == names


def test_pattern_is_watched_everywhere_and_looked_at_in_part() -> None:
    namespaces = options("-n", "team-*").namespaces
    assert namespaces.names == ()
    assert namespaces.cover("team-a")
    assert not namespaces.cover("other")


def test_kopfs_own_variable_names_a_namespace_too() -> None:
    assert options(KOPF_RUN_NAMESPACE="a").namespaces.names == ("a",)


@pytest.mark.parametrize(
    ("words", "level", "log_format", "traces"),
    [
        (["--quiet"], logging.WARNING, LogFormat.FULL, False),
        (["--debug"], logging.DEBUG, LogFormat.FULL, True),
        (["--log-format=json"], logging.INFO, LogFormat.JSON, False),
        (["--log-format", "PLAIN", "-v"], logging.DEBUG, LogFormat.PLAIN, True),
    ],
)
def test_logs_are_as_asked_for(
    words: list[str], level: int, log_format: LogFormat, traces: bool
) -> None:
    found = options(*words)
    assert (found.level, found.log_format, found.traces) == (level, log_format, traces)


@pytest.mark.parametrize(
    "words",
    [
        ["--standalone"],
        ["--peering=default"],
        ["-p", "100"],
        ["--dev"],
        ["--log-prefix"],
        ["--no-log-prefix"],
    ],
)
def test_flag_that_means_nothing_here_is_said_to(words: list[str]) -> None:
    (remark,) = options(*words).remarks
    assert "have no effect" in remark.replace("has", "have")


def test_modules_and_files_with_handlers_are_kept_for_kopf() -> None:
    found = options("-m", "one", "--module=two.three", "handlers.py")
    assert (found.modules, found.paths) == (("one", "two.three"), ("handlers.py",))


def test_metrics_may_have_an_address_of_their_own() -> None:
    found = options("--liveness=http://0.0.0.0:8080/healthz", "--metrics=http://0.0.0.0:9090")
    assert [address.port for address in found.addresses] == [8080, 9090]


@pytest.mark.parametrize(("word", "truth"), [("false", False), ("True", True), ("0", False)])
def test_chart_says_what_pods_are_like(word: str, truth: bool) -> None:
    found = options(DASKJOB_LEGACY_COMMANDS=word, DASKJOB_ISTIO_EXCLUDED=word)
    assert found.platform.legacy_commands is truth
    assert found.platform.istio_excluded is truth


def test_identity_is_the_pods_where_that_is_known_and_else_never_the_same() -> None:
    ours = options(DASKJOB_POD_UID="uid-1").identity
    assert ours.endswith("_uid-1")
    assert options(DASKJOB_POD_UID="uid-1").identity == ours
    assert options().identity != options().identity


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["--all-namespaces", "-n", "a"], {}, "not both"),
        (["--liveness=8080"], {}, "'8080' is not a URL to listen on"),
        (["--metrics=https://0.0.0.0:9090"], {}, "is not a URL to listen on"),
        (["--liveness=http://a:99999/"], {}, "Port out of range"),
        (["--plugins-liveness=nowhere"], {}, "is not a URL to listen on"),
        (["--log-format=xml"], {}, "invalid choice"),
        (["--names=a"], {}, "unrecognized arguments"),
        (["--priority=high"], {}, "invalid int"),
        ([], {"DASKJOB_ISTIO_EXCLUDED": "maybe"}, "write true or false"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_2(
    words: list[str],
    environment: dict[str, str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words, environment)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_help_tells_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--namespace", "--liveness", "--metrics", "--no-lease", "--log-format", "-m"):
        assert flag in text
