"""The command line: kopf's flags, the chart's variables, and rejected input."""

from __future__ import annotations

import logging

import pytest

from daskjob.controller.logs import LogFormat
from daskjob.controller.options import Options, parse
from daskjob.controller.probes import Address


def options(*arguments: str, **environment: str) -> Options:
    return parse(arguments, environment)


def test_documented_kopf_arguments_are_accepted() -> None:
    found = options("--liveness=http://0.0.0.0:8080/healthz", "--all-namespaces", "--verbose")
    assert found.namespaces.everywhere
    assert found.addresses == (Address("0.0.0.0", 8080, "/healthz"),)
    assert found.level == logging.DEBUG
    assert found.remarks == ()


def test_defaults_are_all_namespaces_a_lease_and_logs_for_people() -> None:
    found = options()
    assert found.namespaces.everywhere
    assert found.lease
    assert found.addresses == ()
    assert (found.level, found.log_format, found.traces) == (logging.INFO, LogFormat.FULL, False)
    assert found.platform.legacy_commands
    assert found.platform.istio_excluded
    assert "def dask_setup" in found.platform.agent


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--namespace=my-namespace"], ("my-namespace",)),
        (["-n", "b", "-n", "a"], ("a", "b")),
        (["--namespace", "a,b"], ("a", "b")),
    ],
)
def test_namespaces_can_be_repeated_or_given_as_a_list(
    arguments: list[str], names: tuple[str, ...]
) -> None:
    assert options(*arguments).namespaces.names == names


def test_pattern_filters_a_watch_of_all_namespaces() -> None:
    namespaces = options("-n", "team-*").namespaces
    assert namespaces.names == ()
    assert namespaces.cover("team-a")
    assert not namespaces.cover("other")


def test_kopfs_own_variable_names_a_namespace_too() -> None:
    assert options(KOPF_RUN_NAMESPACE="a").namespaces.names == ("a",)


@pytest.mark.parametrize(
    ("arguments", "level", "log_format", "traces"),
    [
        (["--quiet"], logging.WARNING, LogFormat.FULL, False),
        (["--debug"], logging.DEBUG, LogFormat.FULL, True),
        (["--log-format=json"], logging.INFO, LogFormat.JSON, False),
        (["--log-format", "PLAIN", "-v"], logging.DEBUG, LogFormat.PLAIN, True),
    ],
)
def test_log_options(arguments: list[str], level: int, log_format: LogFormat, traces: bool) -> None:
    found = options(*arguments)
    assert (found.level, found.log_format, found.traces) == (level, log_format, traces)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--standalone"],
        ["--peering=default"],
        ["-p", "100"],
        ["--dev"],
        ["--log-prefix"],
        ["--no-log-prefix"],
    ],
)
def test_flag_without_effect_is_reported(arguments: list[str]) -> None:
    (remark,) = options(*arguments).remarks
    assert "have no effect" in remark.replace("has", "have")


def test_modules_and_files_with_handlers_are_passed_to_kopf() -> None:
    found = options("-m", "one", "--module=two.three", "handlers.py")
    assert (found.modules, found.paths) == (("one", "two.three"), ("handlers.py",))


def test_metrics_can_have_a_separate_address() -> None:
    found = options("--liveness=http://0.0.0.0:8080/healthz", "--metrics=http://0.0.0.0:9090")
    assert [address.port for address in found.addresses] == [8080, 9090]


@pytest.mark.parametrize(("value", "truth"), [("false", False), ("True", True), ("0", False)])
def test_charts_variables_set_pod_options(value: str, truth: bool) -> None:
    found = options(DASKJOB_LEGACY_COMMANDS=value, DASKJOB_ISTIO_EXCLUDED=value)
    assert found.platform.legacy_commands is truth
    assert found.platform.istio_excluded is truth


def test_identity_is_the_pods_name_or_else_unique() -> None:
    ours = options(DASKJOB_POD_UID="uid-1").identity
    assert ours.endswith("_uid-1")
    assert options(DASKJOB_POD_UID="uid-1").identity == ours
    assert options().identity != options().identity


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
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
def test_usage_error_is_printed_and_exits_with_2(
    arguments: list[str],
    environment: dict[str, str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments, environment)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--namespace", "--liveness", "--metrics", "--no-lease", "--log-format", "-m"):
        assert flag in text
