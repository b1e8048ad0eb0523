"""Credential plugins of a kubeconfig: real programs."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from daskjob.core.manifests import ObjectRef
from daskjob.kube import exec_plugin
from daskjob.kube.access import NoCredentials
from daskjob.kube.api import Api
from daskjob.kube.errors import Unreachable
from daskjob.kube.kubeconfig import Kubeconfig
from tests.kubernetes.given import run
from tests.kubernetes.kubeconfigs import kubeconfig, plugin, printing
from tests.waiting import until

SECRET = "c2VjcmV0LXRva2VuLW9mLXRoZS11c2Vy"
#: Prints a part of its environment as the token.
SHOWING = """
import base64, json, os
shown = {shown}
token = base64.b64encode(json.dumps(shown).encode()).decode()
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "status": {{"token": token}}}}))
"""
INFO = 'json.loads(os.environ["KUBERNETES_EXEC_INFO"])'


def shown_by(path: str) -> Any:
    import base64

    access = run(Kubeconfig(path).access())
    return json.loads(base64.b64decode(access.headers["Authorization"].removeprefix("Bearer ")))


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_plugin_prints_a_token(version: str, tmp_path: Path) -> None:
    user = plugin(
        tmp_path,
        printing(version, token="abc"),
        apiVersion=f"client.authentication.k8s.io/{version}",
    )
    found = Kubeconfig(kubeconfig(tmp_path, user))
    assert found.at_once() is None
    assert run(found.access()).headers == {"Authorization": "Bearer abc"}


def test_a_plugin_gets_the_request_and_its_environment(tmp_path: Path) -> None:
    user = plugin(
        tmp_path,
        SHOWING.format(shown=f'[{INFO}, os.environ["PROFILE"], os.environ["HOME"]]'),
        env=[{"name": "PROFILE", "value": "mine"}],
    )
    info, profile, home = shown_by(kubeconfig(tmp_path, user))
    assert info == {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    assert (profile, home) == ("mine", os.environ["HOME"])


def test_a_plugin_gets_the_cluster_if_it_wants_it(tmp_path: Path) -> None:
    user = plugin(tmp_path, SHOWING.format(shown=INFO), provideClusterInfo=True)
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    more = {"tls-server-name": "other", "extensions": [{"name": "y"}, extension]}
    info = shown_by(kubeconfig(tmp_path, user, more))
    assert info["spec"]["cluster"] == {
        "server": "https://one:6443",
        "tls-server-name": "other",
        "config": {"audience": "x"},
    }


def test_a_command_with_a_separator_is_relative_to_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    path = tmp_path / "bin" / "daskjob-login"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n{printing(token='abc')}")
    path.chmod(0o755)
    user = plugin(tmp_path, "", command="./bin/daskjob-login", args=[])
    assert run(Kubeconfig(kubeconfig(tmp_path, user)).access()).headers
    user = plugin(tmp_path, "", command="daskjob-login", args=[])
    with pytest.raises(NoCredentials, match="command: daskjob-login cannot be run"):
        run(Kubeconfig(kubeconfig(tmp_path, user)).access())
    monkeypatch.setenv("PATH", str(path.parent))
    assert run(Kubeconfig(kubeconfig(tmp_path, user)).access()).headers


#: Programs, settings of the plugin, and the message for each.
FAILING: dict[str, tuple[str, dict[str, Any], str]] = {
    "it exits with 3": (
        f"import sys; print('log in first', '{SECRET}', file=sys.stderr); sys.exit(3)",
        {},
        r"exited with non-zero code 3: log in first …",
    ),
    "it is killed": ("import os; os.kill(os.getpid(), 9)", {}, r"exited with non-zero code -9"),
    "it raises": ("{}['profile']", {}, r"exited with non-zero code 1: .*KeyError: 'profile'"),
    "it prints nothing": ("", {}, r"is not JSON"),
    "it prints a text": (f"print('{SECRET}')", {}, r"is not JSON"),
    "it prints a list": (f"print('[\"{SECRET}\"]')", {}, r"has no status"),
    "it prints no credentials": (printing(), {}, r"neither a token nor a certificate"),
    "it prints half of a pair": (printing(clientKeyData=SECRET), {}, r"printed only one of"),
    "it prints no PEM": (
        printing(clientKeyData=SECRET, clientCertificateData=SECRET),
        {},
        r"are not a pair of PEM files",
    ),
    "it prints another version": (
        printing("v1beta1", token=SECRET),
        {},
        r"apiVersion: \S+ printed another one: client\.authentication\.k8s\.io/v1beta1",
    ),
    "it prints no time": (
        printing(token=SECRET, expirationTimestamp="soon"),
        {},
        r"expirationTimestamp is not a time",
    ),
    "it prints a token of two lines": (printing(token=f"{SECRET}\n{SECRET}"), {}, r"characters"),
    "it does not exist": (
        "",
        {"command": "no-such-login", "installHint": "Install it with\n  brew."},
        r"no-such-login cannot be run: No such file or directory; Install it with brew\.",
    ),
    "no command": ("", {"command": ""}, r"command: is not set"),
    "an old version": (
        "",
        {"apiVersion": "client.authentication.k8s.io/v1alpha1"},
        r"apiVersion: must be one of client\.authentication\.k8s\.io/v1, ",
    ),
    "a nameless variable": ("", {"env": [{"value": SECRET}]}, r"env\[0\]: must have a name"),
    "it needs a terminal": ("", {"interactiveMode": "Always"}, r"needs a terminal"),
}


@pytest.mark.parametrize("title", FAILING)
def test_a_failed_plugin_is_named_without_secrets(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, settings, message = FAILING[title]
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    path = kubeconfig(tmp_path, plugin(tmp_path, program, **settings))
    with pytest.raises(NoCredentials, match=message) as caught:
        run(Kubeconfig(path).access())
    assert f"user 'u' in {path}" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("seconds", "runs"), [(-10, 2), (-86400, 2), (3600, 1)])
async def test_expired_credentials_are_renewed_before_a_request(
    seconds: int, runs: int, tmp_path: Path
) -> None:
    at = time.time() + seconds
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    counting = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
    program = counting + printing(token="abc", expirationTimestamp=stamp)
    now = [0.0]
    path = kubeconfig(tmp_path, plugin(tmp_path, program))
    found = Kubeconfig(path, clock=lambda: now[0])
    await found.access()
    # Not continuously, if it prints credentials that have expired.
    await found.access()
    assert (tmp_path / "runs").read_text() == "x"
    now[0] = 5.0
    await found.access()
    assert (tmp_path / "runs").read_text() == "x" * runs


ASKING = """
import sys
print("Password: ", end="", file=sys.stderr, flush=True)
assert sys.stdin.readline() == "open sesame\\n"
"""
LOGGING_IN = """
import asyncio, sys
from daskjob.kube.kubeconfig import Kubeconfig
print(asyncio.run(Kubeconfig(sys.argv[1]).access()).headers == {"Authorization": "Bearer abc"})
"""


@pytest.mark.parametrize("mode", ["IfAvailable", "Always", ""])
def test_a_plugin_may_ask_in_a_terminal(mode: str, tmp_path: Path) -> None:
    user = plugin(tmp_path, ASKING + printing(token="abc"), interactiveMode=mode)
    path = kubeconfig(tmp_path, user)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", LOGGING_IN, path],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        asked = b""
        while b"Password: " not in asked:
            asked += os.read(ours, 1000)
        os.write(ours, b"open sesame\n")
        output, _ = process.communicate(timeout=30)
    os.close(ours)
    assert output == "True\n"


#: Plugins that do not end; each writes its process id first.
HANGING = {
    "it sleeps": "time.sleep(600)",
    "it ignores SIGTERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    "it prints and sleeps": "print('{}', flush=True); time.sleep(600)",
}


def hanging(folder: Path, title: str) -> tuple[str, Path]:
    pid = folder / "pid"
    begin = "import os, pathlib, signal, time\n"
    begin += f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
    return kubeconfig(folder, plugin(folder, begin + HANGING[title])), pid


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("title", HANGING)
async def test_a_plugin_that_does_not_end_is_killed(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_plugin, "LIMIT_SECONDS", 0.5)
    path, _ = hanging(tmp_path, title)
    with pytest.raises(NoCredentials, match=r"command: \S+ did not end within 0\.5 s"):
        await Kubeconfig(path).access()
    # By its command line: on a busy machine it may end before it has written its process id.
    assert not [one.pid for one in psutil.process_iter() if str(tmp_path) in command_of(one)]


@pytest.mark.parametrize("title", HANGING)
async def test_a_cancelled_request_ends_its_plugin(title: str, tmp_path: Path) -> None:
    path, pid = hanging(tmp_path, title)
    asking = asyncio.create_task(Kubeconfig(path).access())
    await until(lambda: pid.exists() and pid.read_text())
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not is_there(int(pid.read_text()))


async def test_a_login_is_not_a_part_of_the_time_of_a_request(tmp_path: Path) -> None:
    slow = "import time; time.sleep(0.5)\n" + printing(token="abc")
    path = kubeconfig(tmp_path, plugin(tmp_path, slow), {"server": "https://127.0.0.1:1"})
    async with Api(Kubeconfig(path), try_seconds=0.3, budget_seconds=0.3) as api:
        with pytest.raises(Unreachable):
            await api.get(ObjectRef("Pod", "default", "any"))
