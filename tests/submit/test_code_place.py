"""``--code git+URL@COMMIT``, ``pvc:…`` and ``image:…``: checked, and resolved, before anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from daskjob.submit.cluster_job import code_place as module
from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.code_place import (
    code_place,
    folder_of,
    path_inside,
)
from daskjob.submit.settings.items import is_elsewhere

URL = "https://git.example/team/x.git"
#: No request leaves this machine, and no git is started.
NO_PROGRAMS = {"PATH": ""}


@dataclass
class Repository:
    """A repository of this machine that git finds under a URL of another one."""

    folder: Path
    environ: Mapping[str, str]

    def git(self, *words: str) -> str:
        command = [
            "git",
            "-C",
            str(self.folder),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            *words,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> str:
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "x.git"
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    environ = {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{folder}.insteadOf",
        "GIT_CONFIG_VALUE_0": URL,
    }
    return Repository(folder, environ)


def test_branches_and_tags_are_resolved_to_the_commit_of_now(repository: Repository) -> None:
    first = repository.commit("one")
    repository.git("tag", "light")
    repository.git("tag", "-a", "v1", "-m", "annotated")
    repository.git("branch", "feature/x")
    # What ends with the same name is another one.
    repository.git("branch", "other/v1")
    second = repository.commit("two")
    repository.git("branch", "light-2")
    wanted = {"main": second, "light": first, "v1": first, "feature/x": first, "": second}
    for ref, commit in wanted.items():
        found = code_place(f"git+{URL}" + f"@{ref}" * bool(ref), "", repository.environ)
        assert found.source == {"git": {"url": URL, "commit": commit}}, ref
        assert found.shown == f"{URL} at commit {commit[:12]} ({ref or 'HEAD'})"
    found = code_place(f"git+{URL}@refs/heads/main", "login", repository.environ)
    assert found.source == {"git": {"url": URL, "commit": second, "secretName": "login"}}


def test_tag_comes_before_a_branch_of_its_name_as_for_git(repository: Repository) -> None:
    first = repository.commit("one")
    repository.git("tag", "both")
    repository.git("checkout", "-q", "-b", "both")
    repository.commit("two")
    found = code_place(f"git+{URL}@both", "", repository.environ)
    assert found.source["git"]["commit"] == first


@pytest.mark.parametrize("commit", ["a" * 40, "0123456789abcdef" * 4])
def test_commit_is_taken_as_it_is_and_git_is_not_asked(commit: str) -> None:
    found = code_place(f"git+ssh://git@git.example/x@{commit}", "", NO_PROGRAMS)
    assert found.source == {"git": {"url": "ssh://git@git.example/x", "commit": commit}}
    assert found.shown == f"ssh://git@git.example/x at commit {commit[:12]}"


def test_commit_may_have_capital_letters() -> None:
    found = code_place(f"git+{URL}@{'A' * 40}", "", NO_PROGRAMS)
    assert found.source["git"]["commit"] == "a" * 40


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://token@host/x", "https://…@host/x@main:"),
        ("https://me:p@w@host/x", "https://…@host/x@main:"),
        ("ssh://me:pw@host/x", "ssh://…@host/x@main:"),
    ],
)
def test_credentials_are_hidden_and_the_rest_of_the_url_is_not(text: str, shown: str) -> None:
    with pytest.raises(UnfitCode) as caught:
        code_place(f"git+{text}@main", "", NO_PROGRAMS)
    assert str(caught.value).startswith(f"--code git+{shown}")


def test_ref_that_is_not_there_is_an_error_with_the_next_step(repository: Repository) -> None:
    commit = repository.commit("one")
    with pytest.raises(UnfitCode, match=r"has no branch or tag 'nope'; name the full commit"):
        code_place(f"git+{URL}@nope", "", repository.environ)
    with pytest.raises(UnfitCode, match=rf"needs all its digits: git rev-parse {commit[:8]}"):
        code_place(f"git+{URL}@{commit[:8]}", "", repository.environ)


def test_repository_that_cannot_be_read_is_an_error_with_gits_reason(
    repository: Repository,
) -> None:
    repository.folder.rename(repository.folder.with_name("gone"))
    with pytest.raises(UnfitCode) as caught:
        code_place(f"git+{URL}@main", "", repository.environ)
    assert str(caught.value).startswith(f"git cannot read {URL}: ")
    # A wrong URL or a missing connection is more frequent than what only pods reach.
    assert str(caught.value).endswith(
        f"; check the URL, the connection and your login: git ls-remote {URL}. If only the pods "
        f"reach it, name the full commit: --code git+{URL}@COMMIT; their image needs git"
    )


def test_git_that_is_missing_or_does_not_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(UnfitCode, match=r"no git here to resolve 'main'; name the full commit"):
        code_place(f"git+{URL}@main", "", NO_PROGRAMS)
    monkeypatch.undo()
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(module, "GIT_SECONDS", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UnfitCode, match=r"did not answer git within 0.2 s; check the URL"):
        code_place(f"git+{URL}@main", "", os.environ)


def test_git_never_asks_for_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\necho $GIT_TERMINAL_PROMPT $GIT_SSH_COMMAND > {asked}\nexit 1\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UnfitCode, match=r"git cannot read .*: no reason given"):
        code_place(f"git+{URL}@main", "", {**os.environ, "GIT_SSH_COMMAND": "ssh -i key"})
    assert asked.read_text() == "0 ssh -i key -o BatchMode=yes\n"


@pytest.mark.parametrize(
    "text", ["https://me:pw@git.example/x", "https://token@git.example/x", "ssh://git:pw@h/x"]
)
def test_credentials_in_a_url_are_rejected_and_not_repeated(text: str) -> None:
    with pytest.raises(UnfitCode, match=r"the URL has credentials.*--code-secret NAME") as caught:
        code_place(f"git+{text}@main", "", NO_PROGRAMS)
    assert "pw" not in str(caught.value)
    assert "token" not in str(caught.value).partition("kubectl")[0]


@pytest.mark.parametrize(
    "text",
    [
        *("git+file:///x@main", "git+git@host:x@main", "git+https://host", "git+https:///x@main"),
        *("git+https://host/x@-u", "git+https://host/x@a..b", "git+https://host/x@a b", "git+"),
        *("git+https://host/x?y@main", "git+https://host/x#y", "git+https://[/x"),
        *("git+https://host:99999/x", "git+https://host:port/x"),
    ],
)
def test_wrong_repository_is_an_error_with_the_form(text: str) -> None:
    with pytest.raises(UnfitCode, match=r"write git\+https://HOST/PATH@COMMIT or git\+ssh://"):
        code_place(text, "", NO_PROGRAMS)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pvc:code", {"persistentVolumeClaim": {"claimName": "code"}}),
        ("pvc:code/a/b/", {"persistentVolumeClaim": {"claimName": "code", "subPath": "a/b"}}),
        ("image:example.org/code:7", {"image": "example.org/code:7"}),
    ],
)
def test_volumes_and_images_are_named(text: str, source: dict[str, object]) -> None:
    assert is_elsewhere(text)
    assert code_place(text, "", NO_PROGRAMS).source == source


@pytest.mark.parametrize(
    ("text", "secret", "message"),
    [
        ("pvc:Code", "", r"write pvc:CLAIM\[/PATH\]"),
        ("pvc:", "", r"write pvc:CLAIM"),
        ("pvc:code/../x", "", "a path inside of the volume"),
        ("pvc:code/", "", "a path inside of the volume"),
        ("image:", "", "write the reference of an image"),
        ("image:a b", "", "write the reference of an image"),
        ("image:-x", "", "write the reference of an image"),
        ("image:https://host/x", "", "write the reference of an image"),
        ("pvc:code", "login", "--code-secret is for --code git"),
    ],
)
def test_wrong_place_is_an_error_with_the_form(text: str, secret: str, message: str) -> None:
    with pytest.raises(UnfitCode, match=message):
        code_place(text, secret, NO_PROGRAMS)


def test_folder_that_looks_like_a_url_is_an_error_with_the_form() -> None:
    assert folder_of("some/folder") == Path("some/folder")
    for text in ("https://me:pw@host/x", "git@host:x", "ssh://host/x", "s3://bucket/x", "H+x://h"):
        with pytest.raises(UnfitCode, match=r"is no folder: write git\+https://.*:REF$") as caught:
            folder_of(text)
        assert "pw" not in str(caught.value)


@pytest.mark.parametrize("word", ["/etc/x.py", "../x.py", "a/../../x.py", ""])
def test_script_outside_of_the_code_is_an_error(word: str) -> None:
    assert path_inside("./a/x.py") == "a/x.py"
    with pytest.raises(UnfitCode, match="the script is a path inside of that code"):
        path_inside(word)
