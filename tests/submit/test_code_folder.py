"""``--code DIR``: which files of a folder are sent, and the notes about the others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjob.submit.cluster_job import folder
from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.editable import editable_folders
from daskjob.submit.cluster_job.folder import (
    LARGEST_FILE,
    Reason,
    contents_of,
    is_secret,
    notes_on,
    project_root,
    workspace_root,
)


def made(root: Path, *paths: str, **texts: str) -> None:
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(texts.get(path, "x"))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sent(root: Path) -> list[str]:
    return list(contents_of(root).files)


def test_histories_environments_and_caches_are_never_sent(tmp_path: Path) -> None:
    made(
        tmp_path,
        *("train.py", "src/lib/__init__.py", "data/table.csv", ".hidden/x.toml"),
        *(".git/config", "sub/.git", ".venv/pyvenv.cfg", ".venv/lib/a.py", "env/pyvenv.cfg"),
        *("conda/conda-meta/history", "conda/bin/x", "src/lib/__pycache__/a.pyc", "old.pyc"),
        *(".mypy_cache/x.json", "node_modules/a/b.js", "web/CACHEDIR.TAG", "web/big.js"),
    )
    found = contents_of(tmp_path)
    assert list(found.files) == [
        *(".hidden/x.toml", "data/table.csv", "src/lib/__init__.py", "train.py")
    ]
    assert found.left_out == {}


def test_secrets_are_left_out_and_named(tmp_path: Path) -> None:
    secrets = [".env", "conf/.env.prod", "tls.pem", "id_rsa", ".netrc", ".aws/credentials"]
    made(tmp_path, *secrets, ".env.example", "secrets.py", "id_rsa.pub", "keys.py")
    os.symlink(tmp_path / "tls.pem", tmp_path / "innocent.txt")
    found = contents_of(tmp_path)
    assert list(found.files) == [".env.example", "id_rsa.pub", "keys.py", "secrets.py"]
    assert sorted(found.of(Reason.SECRET)) == [
        *(".aws/", ".env", ".netrc", "conf/.env.prod", "id_rsa", "innocent.txt", "tls.pem")
    ]
    (note,) = notes_on(found, ["id_rsa"])
    assert note.startswith("not sent, looks like a secret: .aws/, .env, .netrc, conf/.env.prod")
    assert "and 1 more (--secret and --env-file are for them, or --file)" in note


@pytest.mark.parametrize("name", ["env.py", "env", "id_rsa.py", "my.env.py", "credentials.py"])
def test_modules_with_such_names_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("prod.env", ".env_local", "id_ed25519_work", "key.p8", "a.kubeconfig", "kubeconfig.yaml"),
        *("secrets.toml", "terraform.tfvars", ".s3cfg", ".dockerconfigjson", ".databrickscfg"),
        *(".my.cnf", "application_default_credentials.json"),
    ],
)
def test_names_of_secrets_are_those_of_common_tools(name: str) -> None:
    assert is_secret(name)


def test_files_above_1_mib_are_left_out_and_named(tmp_path: Path) -> None:
    made(tmp_path, "a.py")
    for name, size in (("fits.bin", LARGEST_FILE), ("large.bin", LARGEST_FILE + 1)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    found = contents_of(tmp_path)
    assert list(found.files) == ["a.py", "fits.bin"]
    assert notes_on(found, []) == [
        "not sent, above 1 MiB: large.bin (--file sends one, --mount pvc:CLAIM:/path is for data)"
    ]
    assert notes_on(found, ["large.bin"]) == []


def test_own_ignore_file_replaces_those_of_git(tmp_path: Path) -> None:
    made(tmp_path, "a.py", "a.log", "b.tmp", "deep/c.log", "deep/d.tmp")
    write(tmp_path / ".gitignore", "*.log\n")
    write(tmp_path / "deep/.gitignore", "!c.log\n")
    assert sent(tmp_path) == [
        ".gitignore",
        "a.py",
        "b.tmp",
        "deep/.gitignore",
        *("deep/c.log", "deep/d.tmp"),
    ]
    write(tmp_path / ".daskjobignore", "*.tmp\n.gitignore\n.daskjobignore\n")
    found = contents_of(tmp_path)
    assert list(found.files) == ["a.log", "a.py", "deep/c.log"]
    assert "b.tmp" in found.of(Reason.IGNORED)


def test_rules_of_the_repository_hold_in_a_folder_of_it(tmp_path: Path) -> None:
    made(tmp_path, ".git/HEAD", "part/a.py", "part/out/x.txt", "part/b.log")
    write(tmp_path / ".gitignore", "/part/out/\n*.log\n")
    assert sent(tmp_path / "part") == ["a.py"]
    # Above the repository, nothing is read.
    write(tmp_path.parent / ".gitignore", "a.py\n")
    assert sent(tmp_path / "part") == ["a.py"]


def test_first_line_of_an_ignore_file_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    made(tmp_path, "a.log", "b.py")
    write(tmp_path / ".gitignore", "\ufeff*.log\r\n.gitignore\r\n")
    assert sent(tmp_path) == ["b.py"]


def test_what_a_repository_excludes_for_one_user_is_ignored_also_in_its_work_trees(
    tmp_path: Path,
) -> None:
    made(tmp_path, "main/a.log", "main/b.py", "main/c.log", "tree/a.log", "tree/b.py")
    write(tmp_path / "main/.git/info/exclude", "*.log\n")
    write(tmp_path / "main/.gitignore", "!c.log\n")
    write(tmp_path / "main/.git/worktrees/tree/commondir", "../..\n")
    write(tmp_path / "tree/.git", f"gitdir: {tmp_path}/main/.git/worktrees/tree\n")
    assert sent(tmp_path / "main") == [".gitignore", "b.py", "c.log"]
    assert sent(tmp_path / "tree") == ["b.py"]


def test_folder_that_is_left_out_may_have_modules_that_are_sent(tmp_path: Path) -> None:
    made(tmp_path / "project", "pyproject.toml", "a.py")
    made(tmp_path / "away", "one.py", "two.py")
    os.symlink("../away", tmp_path / "project/away")
    (note,) = notes_on(contents_of(tmp_path / "project"), ["away/one.py"])
    assert "in a circle: away/ (but for what is imported) (" in note


PATTERNS = st.lists(
    st.sampled_from(
        [
            *("*.log", "!keep.log", "/a", "a/", "b/*", "!b/c.py", "**/d", "d/**", "a/**/c.py"),
            *("c.p?", "[ab].py", "\\!x", "# c", "b/d/", "!a/b", "*", "!*/", "!*.py", "x "),
            *("/**", "a/**", "!a/**/", "**/b/**", "a**/", "[!a]*/", "[[:alpha:]].py", "/*/*.log"),
            *("[", "[]a].py", "x\\ ", "!/", "\\", "***", "*/", "[a-", "b/**/c.py\r", "d/[!/]x"),
        ]
    ),
    max_size=4,
)


@given(top=PATTERNS, inner=PATTERNS)
def test_ignored_is_what_git_ignores(
    top: list[str], inner: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("repository")
    made(
        root, *(f"{d}{n}" for d in ("", "a/", "b/d/", "a/b/") for n in ("a.py", "c.py", "keep.log"))
    )
    made(root, "x", "d/!x", "b/c.py")
    write(root / ".gitignore", "\n".join(top))
    write(root / "a/.gitignore", "\n".join(inner))
    subprocess.run(["git", "init", "-q", root], check=True)
    command = ["git", "-C", str(root), "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert sent(root) == sorted(listed.rstrip("\0").split("\0") if listed else [])


def test_links_are_followed_within_the_project_and_never_in_a_circle(tmp_path: Path) -> None:
    project, away = tmp_path / "project", tmp_path / "away"
    made(project, "pyproject.toml", "app/main.py", "shared/lib.py")
    made(away, "other.py", "folder/x.py")
    app = project / "app"
    os.symlink("../shared", app / "shared")
    os.symlink("../shared/lib.py", app / "lib.py")
    os.symlink(".", app / "self")
    os.symlink("..", app / "up")
    os.symlink("nowhere", app / "dangling")
    os.symlink("loop", app / "loop")
    os.symlink(away / "folder", app / "folder")
    os.symlink(away / "other.py", app / "other.py")
    found = contents_of(app)
    assert [path for path in found.files if not path.startswith("up/")] == [
        *("lib.py", "main.py", "shared/lib.py")
    ]
    # The project's folder has this one in it: its content is there once, not for ever.
    assert all(path.count("up/") == 1 for path in found.files if path.startswith("up/"))
    assert {"self/", "dangling", "loop", "folder/", "other.py"} <= set(found.of(Reason.OUTSIDE))
    assert found.files["lib.py"].read_text() == "x"


def test_hostile_names_are_kept_and_other_things_than_files_are_named(tmp_path: Path) -> None:
    names = ["-rf", "a b\nc.py", "größe.py", "$(touch x)", "a\\b", "'\".py"]
    made(tmp_path, *names)
    os.mkfifo(tmp_path / "pipe")
    found = contents_of(tmp_path)
    assert sorted(found.files) == sorted(names)
    assert found.left_out == {"pipe": Reason.UNUSUAL}


def test_folder_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "closed/a.py", "b.py")
    scandir = os.scandir

    def denied(path: str | Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    # As root, no mode of a folder forbids to read it.
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UnfitCode, match=r"closed cannot be read: Permission denied"):
        contents_of(tmp_path)


def test_too_many_files_are_an_error_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_FILES", 3)
    made(tmp_path, *(f"{n}.py" for n in range(3)))
    assert len(sent(tmp_path)) == 3
    made(tmp_path, "3.py")
    with pytest.raises(UnfitCode, match=r"has more than 3 files: name a smaller folder"):
        sent(tmp_path)


@pytest.mark.parametrize("mark", ["pyproject.toml", ".git/HEAD", ".git"])
def test_root_is_the_nearest_folder_of_a_project_or_a_repository(tmp_path: Path, mark: str) -> None:
    made(tmp_path, f"outer/{mark}", "outer/inner/deep/a.py", "outer/pyproject.toml")
    assert project_root(tmp_path / "outer/inner/deep") == tmp_path / "outer"
    made(tmp_path, "outer/inner/pyproject.toml")
    assert project_root(tmp_path / "outer/inner/deep") == tmp_path / "outer/inner"


def test_editable_installations_of_the_project_name_folders_of_its_code(tmp_path: Path) -> None:
    project, environment = tmp_path / "project", tmp_path / "env"
    packages = environment / "lib/python3.12/site-packages"
    made(project, "python/one/__init__.py", "lib/two/__init__.py", "lib/three.py", "odd/x.py")
    write(packages / "one.pth", f"import os; os.remove('x')\n{project}/python\n/elsewhere\n")
    mapping = {"two": f"{project}/lib/two", "three": f"{project}/lib/three", "y": f"{project}/odd"}
    write(packages / "__editable___two_1_finder.py", f"MAPPING: dict[str, str] = {mapping!r}\n")
    write(packages / "__editable___bad_finder.py", "MAPPING = open('x')\ndef f(:")
    found = editable_folders(project, [environment])
    assert found == (project / "python", project / "lib")


def test_editable_installations_are_found_through_links_and_relative_lines(tmp_path: Path) -> None:
    project, environment = tmp_path / "project", tmp_path / "project/env"
    packages = environment / "lib/python3.12/site-packages"
    made(project, "one/a.py", "two/b.py")
    os.symlink(project, tmp_path / "link")
    write(packages / "a.pth", f"# folders\n{tmp_path}/link/one\n../../../../two\n")
    assert editable_folders(project, [environment]) == (project / "one", project / "two")


@pytest.mark.parametrize(
    ("settings", "root"), [("[tool.uv.workspace]\nmembers = ['*']\n", "."), ("", "packages/one")]
)
def test_neighbours_of_a_project_are_those_of_its_workspace(
    tmp_path: Path, settings: str, root: str
) -> None:
    write(tmp_path / "pyproject.toml", settings)
    write(tmp_path / "packages/one/pyproject.toml", "")
    assert workspace_root(tmp_path / "packages/one") == tmp_path / root
    made(tmp_path, "packages/.git")
    repository = tmp_path / "packages"
    assert workspace_root(tmp_path / "packages/one") == repository
