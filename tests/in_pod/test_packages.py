"""Packages of a pod: the wanted ones, in its own folder, by pip or uv; failures say what to do."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from daskjob.in_pod import (
    LATER,
    NEVER,
    Failed,
    Line,
    _git_failure,
    _install_failure,
    install,
    message_of,
    python_satisfies,
)
from tests.in_pod.conftest import Pod
from tests.in_pod.wheels import index, sha256, wheel

DASK = version("dask")
REMEDY = (
    "If pods cannot reach it, name a mirror: --index-url URL; or use wheels on a volume: --mount "
    "pvc:CLAIM:/wheels --find-links /wheels; or an image that has the packages."
)


def test_locked_requirements_are_installed_as_they_are(either: Pod, wheels: Path) -> None:
    hashed = f"shapes==1.0 --hash=sha256:{sha256(wheels / 'shapes-1.0-py3-none-any.whl')}"
    with index(wheels) as url:
        done = either.prepare(requirements=[hashed], indexURLs=[url])
    assert done.code == 0, done.log
    # Without what it needs: a lock names everything.
    assert either.installed == {"shapes": "1.0"}
    assert not (either.packages / ".daskjob-work").exists()


def test_loose_requirements_bring_what_they_need(either: Pod, wheels: Path) -> None:
    with index(wheels) as url:
        done = either.prepare(requirements=["shapes  # a comment"], indexURLs=[url])
    assert done.code == 0, done.log
    assert either.installed == {"shapes": "1.0", "colours": "2.0"}


def test_nothing_is_written_outside_of_the_pods_folders(either: Pod, wheels: Path) -> None:
    with index(wheels) as url:
        assert either.prepare(requirements=["shapes"], indexURLs=[url]).code == 0
    assert {entry.name for entry in either.folder.iterdir()} == {"packages", "settings.json"}


def test_second_try_begins_with_an_empty_folder(either: Pod, wheels: Path) -> None:
    either.packages.mkdir()
    (either.packages / "half.py").write_text("")
    done = either.prepare(requirements=["colours==1.0"], findLinks=str(wheels))
    assert done.code == 0, done.log
    assert either.installed == {"colours": "1.0"}
    assert not (either.packages / "half.py").exists()


def test_what_the_image_has_is_not_installed_again(either: Pod, wheels: Path) -> None:
    there = version("cloudpickle")
    done = either.prepare(
        requirements=[f"cloudpickle=={there}", "colours==1.0"], findLinks=str(wheels)
    )
    assert done.code == 0, done.log
    assert either.installed == {"colours": "1.0"}
    assert "daskjob: installed colours==1.0\n" in done.log


def test_loose_requirement_keeps_what_the_image_has(either: Pod, wheels: Path) -> None:
    wheel(wheels, "cloudpickle", "99.0")
    wheel(wheels, "pickles", "1.0", ["cloudpickle"])
    done = either.prepare(requirements=["pickles"], findLinks=str(wheels))
    assert done.code == 0, done.log
    assert either.installed == {"pickles": "1.0"}


def test_dask_stays_the_images(either: Pod, wheels: Path) -> None:
    lines = [f"dask[dataframe]=={DASK}", "distributed>=2024", "shapes==1.0"]
    done = either.prepare(requirements=lines, findLinks=str(wheels))
    assert done.code == 0, done.log
    # What is not Dask's has its version, so nothing else is looked for.
    assert either.installed == {"shapes": "1.0"}


@pytest.mark.parametrize("line", ["dask==2000.1.0", "distributed<2001"])
def test_another_dask_is_a_clash(pod: Pod, line: str) -> None:
    done = pod.prepare(requirements=[line], findLinks="/nowhere")
    assert done.code == NEVER
    assert "clashes with" in done.message
    assert DASK in done.message


def test_package_that_needs_another_dask_is_a_clash(either: Pod, wheels: Path) -> None:
    with index(wheels) as url:
        done = either.prepare(requirements=["old-dask-tool==1.0"], indexURLs=[url])
    assert done.code == NEVER
    assert "old-dask-tool 1.0 needs dask<2000, which clashes with dask" in done.message


def test_loose_package_that_needs_another_dask_is_a_clash(either: Pod, wheels: Path) -> None:
    with index(wheels) as url:
        done = either.prepare(requirements=["old-dask-tool"], indexURLs=[url])
    assert done.code == NEVER
    assert done.message.startswith(f"the requirements clash with dask {DASK} of the image")


def test_missing_package_is_named_with_the_last_lines(either: Pod, wheels: Path) -> None:
    with index(wheels) as url:
        done = either.prepare(requirements=["colours==7.0"], indexURLs=[url])
    assert done.code == NEVER
    assert done.message.startswith(f"colours cannot be installed from {url}.")
    assert len(done.message.splitlines()) > 1


def test_silent_index_is_worth_another_try(either: Pod) -> None:
    done = either.prepare(requirements=["colours==1.0"], indexURLs=["http://127.0.0.1:9/simple"])
    assert done.code == LATER
    assert done.message == (
        "http://127.0.0.1:9/simple did not answer, so that colours cannot be installed: "
        f"Connection refused. {REMEDY}"
    )


def test_index_with_an_error_is_worth_another_try(either: Pod, wheels: Path) -> None:
    with index(wheels, status=503) as url:
        done = either.prepare(requirements=["colours==1.0"], indexURLs=[url])
    assert done.code == LATER, done.log
    assert done.message.startswith(f"{url} did not answer, so that colours cannot be installed")
    assert done.message.endswith(REMEDY)


RETRY = (
    "WARNING: Retrying (Retry(total=2, connect=None, read=None, redirect=None, status=None)) after "
    "connection broken by '{broken}': /simple/{name}/\n"
)
NEW = "NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: {why}')"
NONE = (
    "ERROR: Could not find a version that satisfies the requirement humanize==4.17.0 (from "
    "versions: none)\nERROR: No matching distribution found for humanize==4.17.0\n"
)


@pytest.mark.parametrize(
    ("output", "installer", "expected"),
    [
        (
            RETRY.format(
                broken=NEW.format(why="[Errno 101] Network is unreachable"), name="humanize"
            )
            + NONE,
            "pip",
            "the index that the image's pip asks did not answer, so that humanize cannot be "
            "installed: Network is unreachable.",
        ),
        (
            "Looking in indexes: https://me:****@mirror.test/simple, https://other.test\n"
            + RETRY.format(
                broken=NEW.format(why="[Errno -2] Name or service not known"), name="humanize"
            )
            + NONE,
            "pip",
            "https://***@mirror.test/simple did not answer, so that humanize cannot be installed: "
            "Name or service not known.",
        ),
        (
            RETRY.format(
                broken="ReadTimeoutError(\"HTTPSConnectionPool(host='a.test', port=443): "
                'Read timed out. (read timeout=15)")',
                name="humanize",
            )
            + NONE,
            "pip",
            "the index that the image's pip asks did not answer, so that humanize cannot be "
            "installed: Read timed out.",
        ),
        (
            "error: Failed to fetch: https://a.test/simple/humanize/\n  cause: error sending "
            "request\n  cause: dns error\n  cause: failed to lookup address information: Name or "
            "service not known\n",
            "uv",
            "the index that the image's uv asks did not answer, so that humanize cannot be "
            "installed: failed to lookup address information: Name or service not known.",
        ),
    ],
    ids=["unreachable", "own index", "timeout", "uv"],
)
def test_silent_index_is_named_with_a_package_the_reason_and_a_remedy(
    output: str, installer: str, expected: str
) -> None:
    wanted = [Line("colours==1.0"), Line("humanize==4.17.0")]
    failure = _install_failure(output, wanted, [""], installer)
    assert failure.code == LATER
    assert message_of(failure) == f"{expected} {REMEDY}"


@pytest.mark.parametrize(
    "failure",
    [
        _install_failure(
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on "
            "device",
            [Line("colours==1.0")],
            [""],
            "pip",
        ),
        _install_failure(
            "error: Failed to install: colours-1.0-py3-none-any.whl (colours==1.0)\n"
            "  Caused by: failed to copy file: No space left on device (os error 28)",
            [Line("colours==1.0")],
            [""],
            "uv",
        ),
        _git_failure(
            "error: unable to write file a.py: No space left on device", "https://a/b", "c", False
        ),
    ],
    ids=["pip", "uv", "git"],
)
def test_full_disk_of_a_node_is_said_with_what_helps(failure: Failed) -> None:
    assert failure.code == LATER
    assert failure.sentence.startswith("no space is left for the ")
    assert "request ephemeral-storage for the container" in failure.sentence


def test_remedy_for_a_silent_index_fits_into_a_status() -> None:
    output = RETRY.format(broken=NEW.format(why=f"[Errno 1] {'no ' * 400}"), name="colours")
    output += "Network is unreachable"
    failure = _install_failure(output, [Line("colours==1.0")], [f"https://a/{'b' * 900}"], "pip")
    assert len(message_of(failure)) < 600
    assert message_of(failure).endswith(REMEDY)


def test_wrong_hash_is_final(either: Pod, wheels: Path) -> None:
    with index(wheels) as url:
        line = f"colours==1.0 --hash=sha256:{'0' * 64}"
        done = either.prepare(requirements=[line], indexURLs=[url])
    assert done.code == NEVER
    assert "other content than its hash" in done.message


def test_wrong_python_is_said_before_anything_is_asked(pod: Pod) -> None:
    done = pod.prepare(
        requirements=["colours"], requiresPython=">=4", indexURLs=["http://nowhere.test"]
    )
    assert done.code == NEVER
    assert f"the Python of the image is {'.'.join(map(str, sys.version_info[:3]))}" in done.message
    assert done.message.endswith(
        "and the job requires >=4. Use an image with such a Python, or change requires-python of "
        "the script (requiresPython of a manifest)."
    )


def test_login_of_a_secret_is_used_and_never_shown(
    either: Pod, wheels: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "username").write_text("robot-7\n")
    (secret / "password").write_text("s3cr3t-pw")
    with index(wheels, login="robot-7:s3cr3t-pw") as url:
        done = either.prepare(requirements=["colours==1.0"], indexURLs=[url], login=str(secret))
        assert done.code == 0, done.log
        (secret / "password").write_text("wr0ng-pw")
        wrong = either.prepare(requirements=["colours==1.0"], indexURLs=[url], login=str(secret))
    assert wrong.code == NEVER
    assert "wr0ng-pw" not in wrong.log + wrong.message
    assert "s3cr3t-pw" not in done.log
    left = [path for path in either.packages.rglob("*") if path.name == ".netrc"]
    assert left == []


def test_netrc_of_a_secret_is_used(either: Pod, wheels: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "netrc").write_text("machine 127.0.0.1 login me password pw\n")
    with index(wheels, login="me:pw") as url:
        done = either.prepare(requirements=["colours==1.0"], indexURLs=[url], login=str(secret))
    assert done.code == 0, done.log


def test_marker_about_another_machine_is_left_out(either: Pod, wheels: Path) -> None:
    lines = ["colours==1.0", "missing==1.0 ; sys_platform == 'win32'"]
    done = either.prepare(requirements=lines, findLinks=str(wheels))
    assert done.code == 0, done.log
    assert either.installed == {"colours": "1.0"}


def test_hashes_need_fixed_versions(pod: Pod, wheels: Path) -> None:
    lines = [f"colours==1.0 --hash=sha256:{'0' * 64}", "shapes"]
    done = pod.prepare(requirements=lines, findLinks=str(wheels))
    assert done.code == NEVER
    assert "'shapes' has no fixed version" in done.message


def test_nonsense_is_named(pod: Pod) -> None:
    done = pod.prepare(requirements=["what is this?"])
    assert done.code == NEVER
    assert "'what is this?' is no requirement" in done.message


def test_function_installs_and_raises(wheels: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert install(["colours==1.0"], str(target), find_links=str(wheels)) == ["colours==1.0"]
    with pytest.raises(Failed, match="cannot be installed") as caught:
        install(["colours==9"], str(target), find_links=str(wheels), uv=[])
    assert caught.value.code == NEVER


@pytest.mark.parametrize(
    ("specifiers", "found", "expected"),
    [
        (">=3.11", (3, 11, 0), True),
        (">=3.11", (3, 10, 9), False),
        (">=3.11,<3.13", (3, 13, 0), False),
        ("~=3.11", (3, 14, 0), True),
        ("~=3.11.2", (3, 12, 0), False),
        ("==3.12.*", (3, 12, 4), True),
        ("==3.12", (3, 12, 4), False),
        ("!=3.12.*", (3, 12, 4), False),
        (">3.11, <=3.12.4", (3, 12, 4), True),
    ],
)
def test_specifiers_of_pythons(specifiers: str, found: tuple[int, ...], expected: bool) -> None:
    assert python_satisfies(specifiers, found) is expected


@pytest.mark.parametrize(
    ("text", "version", "locked"),
    [
        ("pandas==3.0.1", "3.0.1", True),
        ("pandas == 3.0.1 ; python_version > '3'", "3.0.1", True),
        ("dask[dataframe]==2026.8.0", "2026.8.0", True),
        ("pandas==3.*", "", False),
        ("pandas>=3", "", False),
        ("pandas==3.0,!=3.1", "", False),
        ("tool @ https://example.com/tool-1-py3-none-any.whl", "", True),
        (f"a==1 --hash=sha256:{'0' * 64} --hash=sha256:{'1' * 64}", "1", True),
    ],
)
def test_lines(text: str, version: str, locked: bool) -> None:
    line = Line(text)
    assert (line.version, line.is_locked) == (version, locked)


def test_pip_of_pythons_own_is_used_where_the_image_has_none(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n == "pip" else found(n))
    monkeypatch.setitem(os.environ, "PIP_CONFIG_FILE", os.devnull)
    target = str(tmp_path / "target")
    assert install(["colours==1.0"], target, find_links=str(wheels), uv=[]) == ["colours==1.0"]


def test_image_without_an_installer_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjob.in_pod._pip_command", list)
    with pytest.raises(Failed, match="neither uv nor pip"):
        install(["colours==1.0"], str(tmp_path), find_links="/wheels", uv=[])
