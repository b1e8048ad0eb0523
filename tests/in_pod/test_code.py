"""Code of a pod: an archive in parts, or a commit."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from daskjob import in_pod
from daskjob.in_pod import LATER, NEVER, Failed, fetch, unpack
from tests.in_pod import git_server
from tests.in_pod.conftest import Pod, Prepared


def archive(*members: tarfile.TarInfo, kind: str = "w:gz") -> bytes:
    """A compressed archive; each file has its name as content."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=kind) as made:  # type: ignore[call-overload]
        for member in members:
            content = member.name.encode() if member.isfile() else b""
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return held.getvalue()


def file(name: str, mode: int = 0o644) -> tarfile.TarInfo:
    """A file of an archive."""
    info = tarfile.TarInfo(name)
    info.mode = mode
    return info


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A link of an archive."""
    info = file(name)
    info.type, info.linkname = kind, to
    return info


def parts(folder: Path, data: bytes, count: int = 1) -> list[Path]:
    """The archive as files, as ConfigMaps are mounted."""
    size = -(-len(data) // count)
    made = [folder / f"part-{n}" for n in range(count)]
    for number, path in enumerate(made):
        path.write_bytes(data[number * size : (number + 1) * size])
    return made


@pytest.mark.parametrize("kind", ["w:gz", "w:xz"])
def test_parts_are_one_archive(pod: Pod, tmp_path: Path, kind: str) -> None:
    data = archive(file("src/app/main.py"), file("run.sh", 0o755), kind=kind)
    code = {"parts": [str(p) for p in parts(tmp_path, data, 3)], "folder": str(tmp_path / "code")}
    done = pod.prepare(code=code)
    assert done.code == 0, done.log
    assert (tmp_path / "code/src/app/main.py").read_text() == "src/app/main.py"
    assert os.access(tmp_path / "code/run.sh", os.X_OK)


@pytest.mark.parametrize(
    "members",
    [
        [file("/etc/passwd")],
        [file("../up.py")],
        [file("a/../../up.py")],
        [link("up", "..")],
        [link("up", "/etc"), file("up/passwd")],
        [link("a", "b"), link("b", "../.."), file("a/x")],
    ],
    ids=lambda members: members[-1].name,
)
def test_archive_that_leaves_the_folder_is_rejected(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    folder = tmp_path / "pod" / "code"
    with pytest.raises(Failed, match="leads out of the code's folder") as caught:
        unpack(parts(tmp_path, archive(*members)), folder)
    assert caught.value.code == NEVER
    assert not (tmp_path / "pod/up.py").exists()


def test_devices_and_hard_links_are_rejected(tmp_path: Path) -> None:
    for member in (link("pipe", "", tarfile.FIFOTYPE), link("hard", "a", tarfile.LNKTYPE)):
        with pytest.raises(Failed, match="no file, folder or symbolic link"):
            unpack(parts(tmp_path, archive(file("a"), member)), tmp_path / "code")


def test_full_disk_is_said_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(in_pod, "_unpack_member", full)
    with pytest.raises(Failed, match="no space is left for the code") as raised:
        unpack(parts(tmp_path, archive(file("a.py"))), tmp_path / "code")
    assert raised.value.code == LATER
    assert "request ephemeral-storage" in raised.value.sentence


def test_link_inside_of_the_folder_is_kept(tmp_path: Path) -> None:
    data = archive(file("lib/a.py"), link("src", "lib"))
    assert unpack(parts(tmp_path, data), tmp_path / "code") == 1
    assert (tmp_path / "code/src/a.py").read_text() == "lib/a.py"


def test_damaged_archive_names_its_configmaps(pod: Pod, tmp_path: Path) -> None:
    whole = archive(file("a.py"), file("b.py"))
    code = {"parts": [str(p) for p in parts(tmp_path, whole[:-20])], "folder": str(tmp_path / "c")}
    done = pod.prepare(code=code)
    assert done.code == NEVER
    assert "ConfigMaps must hold the parts of one tar archive" in done.message


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, str, str]:
    """A repository with two commits: its path, and their hashes."""
    folder = tmp_path / "served/repository"
    first, second = git_server.repository(folder, {"app.py": "one"}, {"app.py": "two"})
    return folder.as_uri(), first, second


def test_commit_is_fetched_also_if_it_is_not_the_newest(
    pod: Pod, repository: tuple[str, str, str], tmp_path: Path
) -> None:
    url, first, second = repository
    for commit, text in ((first, "one"), (second, "two")):
        code = {"git": {"url": url, "commit": commit}, "folder": str(tmp_path / "code")}
        done = pod.prepare(code=code)
        assert done.code == 0, done.log
        assert (tmp_path / "code/app.py").read_text() == text
    assert sorted(entry.name for entry in (tmp_path / "code").iterdir()) == ["app.py"]


def test_missing_commit_is_final(
    pod: Pod, repository: tuple[str, str, str], tmp_path: Path
) -> None:
    code = {"git": {"url": repository[0], "commit": "0a" * 20}, "folder": str(tmp_path / "code")}
    done = pod.prepare(code=code)
    assert done.code == NEVER
    assert done.message.startswith(f"{repository[0]} has no commit {'0a' * 20}. Push it")


def test_private_repository_needs_the_login_of_a_secret(
    pod: Pod, repository: tuple[str, str, str], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    _, _, commit = repository

    def prepared(path: str, login: Path | None) -> Prepared:
        git = {"url": f"{url}{path}", "commit": commit}
        given = {**git, "login": str(login)} if login else git
        return pod.prepare(code={"git": given, "folder": str(tmp_path / "code")})

    secret.mkdir()
    (secret / "username").write_text("robot-7")
    (secret / "password").write_text("s3cr3t-pw\n")
    with git_server.served(tmp_path / "served", "robot-7:s3cr3t-pw") as url:
        done = prepared("/repository/.git", secret)
        assert done.code == 0, done.log
        assert (tmp_path / "code/app.py").read_text() == "two"
        missing = prepared("/other.git", secret)
        without = prepared("/repository/.git", None)
        (secret / "password").write_text("wr0ng-pw")
        wrong = prepared("/repository/.git", secret)
    assert [found.code for found in (missing, without, wrong)] == [NEVER] * 3
    assert missing.message.startswith(f"{url}/other.git is no repository that the login may read.")
    assert without.message.startswith(f"{url}/repository/.git asks for a login. Name a Secret")
    assert wrong.message.startswith(f"{url}/repository/.git rejects the login. Correct the Secret")
    assert "s3cr3t-pw" not in done.log + missing.log + missing.message
    assert "wr0ng-pw" not in wrong.log + wrong.message


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("No user exists for uid 4711", "knows only users of the image's /etc/passwd"),
        ("error: cannot run ssh: No such file or directory", "the image has no ssh, which"),
        ("Host key verification failed.", "is unknown. Name a Secret with ssh-privatekey and"),
        ("git@h.test: Permission denied (publickey).", "ssh://h.test/a asks for a login."),
        ("ERROR: Repository not found.", "is no repository that everyone may read."),
    ],
)
def test_failures_of_ssh_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, sentence: str
) -> None:
    git = tmp_path / "bin/git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\ncase "$*" in *" fetch "*) echo "{said}"; exit 128;; esac\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:/usr/bin:/bin")
    with pytest.raises(Failed) as caught:
        fetch("ssh://h.test/a", "0a" * 20, tmp_path / "code", work=tmp_path)
    assert sentence in caught.value.sentence


def test_submodules_and_large_files_stay_where_they_are(pod: Pod, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    files = {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "a.bin": pointer}
    folder = tmp_path / "repository"
    _, other = git_server.repository(tmp_path / "other", {"a": "1"}, {"a": "2"})
    (commit,) = git_server.repository(folder, files)
    entry = f"160000,{other},part"
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    module = f'[submodule "part"]\n\tpath = part\n\turl = {tmp_path / "other"}\n'
    (folder / ".gitmodules").write_text(module)
    for words in (
        ["add", ".gitmodules"],
        ["update-index", "--add", "--cacheinfo", entry],
        ["commit", "--quiet", "-m", "part"],
    ):
        subprocess.run([*git, *words], check=True)
    head = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    assert head != commit
    code = {"git": {"url": folder.as_uri(), "commit": head}, "folder": str(tmp_path / "code")}
    done = pod.prepare(code=code)
    assert done.code == 0, done.log
    assert (tmp_path / "code/a.bin").read_text() == pointer
    assert list((tmp_path / "code/part").iterdir()) == []


def test_silent_git_server_is_worth_another_try(pod: Pod, tmp_path: Path) -> None:
    git = {"url": "http://127.0.0.1:9/app", "commit": "0a" * 20}
    done = pod.prepare(code={"git": git, "folder": str(tmp_path / "code")})
    assert done.code == LATER, done.log
    assert "did not answer" in done.message


def test_key_without_known_hosts_is_said(tmp_path: Path) -> None:
    login = {"ssh-privatekey": "key"}
    with pytest.raises(Failed, match="known_hosts"):
        fetch("git@h.test:a", "0a" * 20, tmp_path / "code", work=tmp_path, login=login)


def test_image_without_git_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match="the image has no git"):
        fetch("https://h.test/a", "0a" * 20, tmp_path / "code", work=tmp_path)
