"""The packages of a script: resolved by the real uv, from an index on loopback."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from daskjob.core.fields import Reader
from daskjob.core.spec.environment import read_environment
from daskjob.submit.environment import uv as uv_runs
from daskjob.submit.environment.not_there import no_solution
from daskjob.submit.environment.script import environment_of_script
from daskjob.submit.environment.uv import find_uv
from daskjob.submit.environment.wanted import (
    Given,
    Indexes,
    NotResolved,
    Resolved,
    Target,
    UnfitEnvironment,
)
from tests.submit.package_index import Index, hash_of, make_wheel, serving, variables_for

IMAGE = Target("the image dask:2026.8.0-py3.12", "3.12", "2026.8.0", "2026.8.0")
BLOCK = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [{}]
# {}
# ///
import tiny
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serving(Index(folder)) as found:
        found.add("tiny", "1.0", requires=["base>=1", "windows-only; sys_platform == 'win32'"])
        found.add("tiny", "2.0", requires=["base>=2", "windows-only; sys_platform == 'win32'"])
        found.add("base", "1.5")
        found.add("base", "2.5")
        found.add("windows-only", "1.0")
        found.add("dask", "2026.8.0", requires=["toolz>=1", "base; extra == 'frame'"])
        found.add("dask", "2025.1.0")
        found.add("distributed", "2026.8.0", requires=["dask==2026.8.0", "tornado>=6"])
        found.add("toolz", "1.2")
        found.add("tornado", "6.5")
        found.add("on-dask", "1.0", requires=["distributed>=2026", "tiny", "toolz"])
        found.add("on-old-dask", "1.0", requires=["dask<2026"])
        yield found


class User:
    """Someone with a script in a folder, who knows one index."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.index = index
        self.environ = variables_for(index, folder)

    def resolve(
        self, text: str = "", *packages: str, target: Target = IMAGE, given: Given | None = None
    ) -> Resolved:
        return environment_of_script(
            text,
            "sums.py",
            self.folder,
            given=given or Given(packages),
            target=target,
            environ=self.environ,
        )

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def without_uv(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environ["PATH"] = ""
        monkeypatch.setitem(sys.modules, "uv", None)


@pytest.fixture
def user(tmp_path: Path, index: Index) -> User:
    return User(tmp_path, index)


def block(*dependencies: str, more: str = "") -> str:
    return BLOCK.format(", ".join(f'"{item}"' for item in dependencies), more)


def pins(found: Resolved | Sequence[str]) -> list[str]:
    """The lines without their hashes."""
    lines = found.requirements if isinstance(found, Resolved) else found
    return [re.sub(r" --hash=\S+", "", line) for line in lines]


def wheel_hash(index: Index, name: str) -> str:
    return f"--hash=sha256:{hash_of(index.folder / name)}"


def rejected(user: User, text: str = "", *packages: str, **more: object) -> str:
    with pytest.raises(UnfitEnvironment) as caught:
        user.resolve(text, *packages, **more)  # type: ignore[arg-type]
    return str(caught.value)


def unresolved(user: User, text: str = "", *packages: str, **more: object) -> str:
    with pytest.raises(NotResolved) as caught:
        user.resolve(text, *packages, **more)  # type: ignore[arg-type]
    return str(caught.value)


def test_script_that_wants_nothing_has_no_environment_and_asks_no_index(user: User) -> None:
    for text in ("import os", block("dask", "distributed").replace("# requires", "# #")):
        assert user.resolve(text).manifest() == {}
    assert user.index.asked == []


def test_declared_packages_are_locked_with_markers_and_hashes(user: User) -> None:
    found = user.resolve(block("tiny<2", "dask"))
    base = wheel_hash(user.index, "base-2.5-py3-none-any.whl")
    tiny = wheel_hash(user.index, "tiny-1.0-py3-none-any.whl")
    only = wheel_hash(user.index, "windows_only-1.0-py3-none-any.whl")
    assert found.manifest() == {
        "requirements": [
            f"base==2.5 {base}",
            f"tiny==1.0 {tiny}",
            f"windows-only==1.0 ; sys_platform == 'win32' {only}",
        ],
        "requiresPython": ">=3.11",
    }
    assert found.sources == ("dependencies of sums.py",)


def test_two_resolutions_give_the_same_lines(user: User) -> None:
    text = block("tiny", "on-dask")
    assert user.resolve(text) == user.resolve(text)


def test_lines_are_what_the_custom_resource_reads_and_pip_installs(
    user: User, tmp_path: Path
) -> None:
    found = user.resolve(block("tiny"))
    read = read_environment(Reader({"environment": found.manifest()}, "spec", []))
    assert read.requirements == found.requirements
    (tmp_path / "lines.txt").write_text("\n".join(found.requirements))
    target = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    where = ["--index-url", user.index.url, "--target", str(target)]
    subprocess.run(
        [*pip, *where, "-r", str(tmp_path / "lines.txt")],
        check=True,
        env={**user.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    assert sorted(path.name for path in target.glob("*.py")) == ["base.py", "tiny.py"]


def test_dask_stays_the_images_with_what_it_needs_alone(user: User) -> None:
    # toolz is what on-dask needs itself, tornado only distributed.
    assert pins(user.resolve(block("on-dask"))) == [
        "base==2.5",
        "on-dask==1.0",
        "tiny==2.0",
        "toolz==1.2",
        "windows-only==1.0 ; sys_platform == 'win32'",
    ]


def test_what_an_extra_of_dask_needs_is_sent(user: User) -> None:
    assert pins(user.resolve(block("dask[frame]"))) == ["base==2.5"]


def test_with_adds_to_the_script(user: User) -> None:
    found = user.resolve(block("base"), "toolz==1.2")
    assert pins(found) == ["base==2.5", "toolz==1.2"]
    assert found.sources == ("dependencies of sums.py", "--with")


@pytest.mark.parametrize("where", ["block", "with"])
def test_other_dask_is_one_sentence_with_both_sides(user: User, where: str) -> None:
    message = (
        rejected(user, block("dask==2025.1.0"))
        if where == "block"
        else rejected(user, "", "dask==2025.1.0")
    )
    origin = "dependencies of sums.py" if where == "block" else "--with"
    assert message == (
        f"dask==2025.1.0 ({origin}) clashes with the image dask:2026.8.0-py3.12, which has dask "
        "2026.8.0, and a job keeps that one: choose another image: --image IMAGE, or require "
        "dask==2026.8.0"
    )
    assert user.index.asked == []


def test_package_that_needs_another_dask_names_the_image_and_uvs_reason(user: User) -> None:
    message = rejected(user, block("on-old-dask"))
    assert message.startswith(
        "the packages of sums.py need another dask than 2026.8.0, which the image "
        "dask:2026.8.0-py3.12 has and every pod keeps: choose another image: --image IMAGE"
    )
    assert "on-old-dask" in message.partition("requirements. ")[2]


def test_dask_of_an_unknown_image_is_compared_in_its_pods_and_not_installed(user: User) -> None:
    unknown = Target("the image x")
    found = user.resolve(block("on-old-dask", "dask[array]==2025.1.0"), target=unknown)
    assert pins(found) == ["dask==2025.1.0", "on-old-dask==1.0"]
    alone = user.resolve("", "dask>=2025.1 ; python_version > '3.8'", "distributed", target=unknown)
    assert alone.manifest() == {"requirements": ['dask>=2025.1 ; python_version > "3.8"']}
    # Any version will do, so pods need not start with a comparison.
    assert user.resolve("", "dask", "distributed", target=unknown).manifest() == {}


@pytest.mark.parametrize(
    ("python", "requires", "is_right"),
    [
        ("3.12", ">=3.11", True),
        ("3.12", ">=3.12.4,<3.13", True),
        ("3.12", ">=3.13", False),
        ("3.12", "!=3.12.*", False),
        ("3.12.3", ">=3.12.4", False),
        ("3.12.4", "~=3.12.4", True),
        ("", ">=3.99", True),
    ],
)
def test_required_python_is_compared_with_the_targets(
    user: User, python: str, requires: str, is_right: bool
) -> None:
    text = block().replace(">=3.11", requires)
    target = Target("the image x", python)
    if is_right:
        assert user.resolve(text, target=target).manifest() == {"requiresPython": requires}
        return
    assert rejected(user, text, target=target) == (
        f"sums.py requires Python {requires}, and the image x has {python}; choose another image: "
        "--image IMAGE"
    )


def test_required_python_that_is_none_is_rejected(user: User) -> None:
    message = rejected(user, block().replace(">=3.11", "new"))
    assert message == "sums.py: requires-python is 'new'; write versions such as '>=3.11'"


def test_markers_of_the_targets_python_decide(user: User) -> None:
    user.index.add("only-old", "1.0")
    text = block("base; python_version >= '3.12'", "only-old; python_version < '3.12'")
    assert pins(user.resolve(text)) == ["base==2.5"]


def test_unknown_package_is_one_sentence_with_the_index_and_who_asks(user: User) -> None:
    user.environ["UV_DEFAULT_INDEX"] = user.index.url.replace("//", "//me:pw@")
    index = f"the index {user.index.url}"
    assert rejected(user, block("No_such-thing>=2", "tiny"), "tiny") == (
        f"no-such-thing>=2 (dependencies of sums.py): there is no such package in {index}; check "
        'its name, or name an index that has it, [tool.daskjob]: extra-index-url = ["URL"]'
    )
    # On other systems, or Pythons, uv has other words for it.
    message = rejected(user, "", "gone; python_version >= '3.13'")
    assert message == f"gone (--with): {index} has no version of it; check its name"


def test_unknown_version_is_one_sentence_with_those_that_there_are(user: User) -> None:
    index = f"the index {user.index.url}"
    assert rejected(user, "", "tiny==9").startswith(
        f"tiny==9 (--with): {index} has no such version"
    )
    assert rejected(user, "", "tiny>=9") == (
        f"tiny>=9 (--with): {index} has no such version: only tiny<=2.0 is available"
    )
    assert rejected(user, "", "tiny>1.0,<2").endswith(
        "has no such version: only the following versions of tiny are available: tiny<=1.0, tiny>=2"
    )


@pytest.mark.parametrize(
    ("because", "message"),
    [
        (
            "gone was not found in the package registry and you require gone",
            "gone: there is no such package in the index of uv; check its name, or name an index "
            'that has it, [tool.daskjob]: extra-index-url = ["URL"]',
        ),
        (
            "only tiny{sys_platform == 'win32'}<=3.1.1 is available and you require tiny==99",
            "tiny==99: the index of uv has no such version: only tiny<=3.1.1 is available",
        ),
    ],
)
def test_what_uv_says_of_other_pythons_and_systems_is_left_out(because: str, message: str) -> None:
    stderr = (
        "error: No solution found when resolving dependencies for split (markers: "
        "python_full_version >= '3.14' and sys_platform == 'win32')\n"
        f"  cause: Because {because}, we can conclude that your requirements are unsatisfiable.\n\n"
        "hint: While the active Python version is 3.11, the resolution failed for other Python "
        "versions supported by your project. Consider limiting your project's supported Python "
        "versions using `requires-python`.\n"
    )
    assert str(no_solution(stderr, "sums.py", {})) == message


def test_packages_that_exclude_each_other_are_uvs_sentences_alone(user: User) -> None:
    message = rejected(user, "", "tiny==2.0; python_version >= '3.13'", "base<2")
    start, _, rest = message.partition(": Because ")
    assert start == "the packages of sums.py cannot be installed together"
    assert "you require base<2" in rest
    assert rest.endswith(" are unsatisfiable. Change the requirements")
    # Not those about a project of uv, which nobody has here.
    assert not re.search(r"split|markers|\{|requires-python|active Python", message)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("tiny==", "--with: 'tiny==' is no requirement: "),
        ("./tiny", "--with: ./tiny is on this machine, and no pod has it"),
        ("./tiny", "for daskjob run alone, install it: pip install ./tiny"),
        ("/x/tiny-1.0-py3-none-any.whl", "is on this machine"),
        ("tiny @ file:///x/tiny.whl", "is on this machine"),
        ("tiny @ https://me:pw@example.org/t.whl", "--with: tiny @ https://example.org/t.whl has "),
    ],
)
def test_package_that_no_pod_could_install_is_rejected_at_once(
    user: User, package: str, message: str
) -> None:
    found = rejected(user, "", package)
    assert message in found
    assert "pw" not in found
    assert user.index.asked == []


def test_wheel_by_url_is_sent_without_hashes_of_others(user: User) -> None:
    url = user.index.url.replace("/simple", "/files/base-1.5-py3-none-any.whl")
    found = user.resolve("", f"base @ {url}", "toolz")
    assert pins(found)[0].startswith(f"base @ {url}")
    assert pins(found)[1] == "toolz==1.2"
    hashes = ["--hash" in line for line in found.requirements]
    assert hashes[0] == hashes[1]


# Requirements files


def test_requirements_file_is_read_as_pip_reads_it(user: User) -> None:
    user.environ["NAME"] = "tiny"
    other = wheel_hash(user.index, "tiny-1.0-py3-none-any.whl")
    user.write("more.txt", "-c limits.txt\ntoolz\n")
    user.write("limits.txt", "base<2  # not newer\n")
    path = user.write(
        "requirements.txt",
        f"# comment\n\n-r more.txt\n${{NAME}}==1.0 \\\n    {other}\n--require-hashes\n",
    )
    found = user.resolve("", given=Given((), str(path)))
    assert pins(found) == [
        "base==1.5",
        "tiny==1.0",
        "toolz==1.2",
        "windows-only==1.0 ; sys_platform == 'win32'",
    ]
    assert other in found.requirements[1]
    assert found.sources == (str(path),)


def test_hashes_of_a_requirements_file_are_the_only_ones(user: User) -> None:
    path = user.write("r.txt", f"base==2.5 --hash=sha256:{'a' * 64}\n")
    found = user.resolve("", given=Given((), str(path)))
    assert found.requirements == (f"base==2.5 --hash=sha256:{'a' * 64}",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n-e .\n", "r.txt, line 2: -e . is a folder of this machine, and no pod has it"),
        ("--editable=../x", "r.txt, line 1: -e ../x is a folder"),
        ("tiny\nbad==\n", "r.txt, line 2: 'bad==' is no requirement"),
        ("-r gone.txt", "r.txt, line 1: "),
        ("-r gone.txt", "gone.txt does not exist"),
        ("-r r.txt", "r.txt: requirements files include each other without end"),
        ("--indx-url x", "r.txt, line 1: --indx-url is no option of this file; known: "),
        ("-i https://u:pw@h/simple", "r.txt, line 1: https://h/simple: it has a login"),
        ("-f wheels", "r.txt, line 1: wheels: write the absolute path"),
    ],
)
def test_line_that_no_pod_could_follow_is_named(user: User, text: str, message: str) -> None:
    path = user.write("r.txt", text)
    found = rejected(user, given=Given((), str(path)))
    assert message in found
    assert "pw" not in found


def test_index_of_a_requirements_file_goes_to_the_pods(user: User) -> None:
    user.environ["UV_DEFAULT_INDEX"] = "http://127.0.0.1:9/simple"
    path = user.write("r.txt", f"--index-url {user.index.url}\ntiny<2\n")
    found = user.resolve("", given=Given((), str(path)))
    assert found.manifest()["indexURLs"] == [user.index.url]
    assert "tiny==1.0" in pins(found)


# [tool.uv]


def test_index_and_limits_of_a_script_are_used(user: User) -> None:
    user.environ["UV_DEFAULT_INDEX"] = "http://127.0.0.1:9/simple"
    more = (
        f'[[tool.uv.index]]\n# url = "{user.index.url}"\n# default = true\n'
        '# [tool.uv]\n# constraint-dependencies = ["base<2.5"]\n'
        '# override-dependencies = ["base>=1"]\n# managed = true'
    )
    found = user.resolve(block("tiny", more=more))
    assert found.manifest()["indexURLs"] == [user.index.url]
    assert pins(found)[:2] == ["base==1.5", "tiny==2.0"]
    assert found.notes == ("[tool.uv] of sums.py: managed has no effect on the job",)


def test_source_of_this_machine_is_rejected(user: User) -> None:
    more = '[tool.uv.sources]\n# tiny = { path = "../tiny" }'
    assert "the source of tiny is none that pods have" in rejected(user, block("tiny", more=more))


def test_source_by_url_is_resolved(user: User) -> None:
    url = user.index.url.replace("/simple", "/files/base-1.5-py3-none-any.whl")
    more = f'[tool.uv.sources]\n# base = {{ url = "{url}" }}'
    assert pins(user.resolve(block("base", more=more)))[0].startswith(f"base @ {url}")


# Projects


@pytest.fixture
def project(user: User) -> Path:
    """The script's project, which has a lock."""
    path = user.write(
        "pyproject.toml",
        '[project]\nname = "sums"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["tiny<2", "dask"]\n[dependency-groups]\ndev = ["toolz"]\n',
    )
    subprocess.run(
        [find_uv(user.environ), "lock", "--quiet", "--python", sys.executable],
        cwd=user.folder,
        env={**user.environ, "UV_PYTHON_DOWNLOADS": "never"},
        check=True,
    )
    return path


@pytest.mark.usefixtures("project")
def test_lock_of_a_project_is_sent_and_no_index_is_asked(user: User) -> None:
    user.index.asked.clear()
    user.index.add("base", "2.9")
    found = user.resolve("import tiny")
    assert pins(found) == [
        "base==2.5",
        "tiny==1.0",
        "windows-only==1.0 ; sys_platform == 'win32'",
    ]
    assert found.requires_python == ">=3.11"
    # That of this machine's configuration, which pods need not reach.
    assert found.index_urls == ()
    assert found.sources == (str(user.folder / "uv.lock"),)
    assert user.index.asked == []


def test_indexes_of_a_project_are_those_of_its_pods(project: Path, user: User) -> None:
    text = project.read_text()
    own = f'[[tool.uv.index]]\nurl = "{user.index.url}"\n'
    project.write_text(f"{text}\n{own}default = true\n")
    assert user.resolve("import tiny").index_urls == (user.index.url,)
    # One more index, behind the one that this machine's configuration names.
    project.write_text(text + '\n[[tool.uv.index]]\nurl = "https://more.test/simple"\n')
    more = "https://more.test/simple"
    assert user.resolve("import tiny").index_urls == (user.index.url, more)


def test_an_additional_index_needs_the_one_before_it(user: User) -> None:
    extra = Given(("tiny==1.0",), indexes=Indexes(extra_index_urls=("https://more.test/simple",)))
    del user.environ["UV_DEFAULT_INDEX"]
    with pytest.raises(UnfitEnvironment, match="one before it too: --index-url URL"):
        user.resolve(given=extra)


@pytest.mark.usefixtures("project")
def test_with_adds_to_a_lock_whose_versions_stay(user: User) -> None:
    user.index.add("base", "2.9")
    assert pins(user.resolve("import tiny", "tornado")) == [
        "base==2.5",
        "tiny==1.0",
        "tornado==6.5",
        "windows-only==1.0 ; sys_platform == 'win32'",
    ]


@pytest.mark.usefixtures("project")
def test_script_with_a_block_or_with_requirements_stands_alone(user: User) -> None:
    assert pins(user.resolve(block("toolz"))) == ["toolz==1.2"]
    path = user.write("r.txt", "toolz\n")
    assert pins(user.resolve("", given=Given((), str(path)))) == ["toolz==1.2"]


@pytest.mark.usefixtures("project")
def test_lock_with_another_dask_names_both(user: User) -> None:
    # Its pods compare it.
    assert "dask==2026.8.0" in pins(user.resolve(target=Target("the image x", "3.12")))
    target = Target("the image x", "3.12", "2026.9.0", "2026.9.0")
    message = rejected(user, target=target)
    assert message.startswith(f"dask==2026.8.0 ({user.folder / 'uv.lock'}) clashes with the image")


def test_project_without_a_lock_sends_nothing(user: User, project: Path) -> None:
    project.with_name("uv.lock").unlink()
    assert user.resolve("import tiny").manifest() == {}


def test_damaged_lock_is_named(user: User, project: Path) -> None:
    project.with_name("uv.lock").write_text("[[")
    assert "uv.lock is not TOML: " in rejected(user)


# Indexes and logins


def test_settings_name_the_index_for_pods_and_for_here(user: User) -> None:
    user.environ["UV_DEFAULT_INDEX"] = "http://127.0.0.1:9/simple"
    indexes = Indexes(user.index.url, (), secret="login")
    found = user.resolve(given=Given(("base",), "", indexes))
    assert found.manifest() == {
        "requirements": [f"base==2.5 {wheel_hash(user.index, 'base-2.5-py3-none-any.whl')}"],
        "indexURLs": [user.index.url],
        "secretName": "login",
    }


def test_index_of_pips_configuration_is_used_here_and_noted(user: User, tmp_path: Path) -> None:
    del user.environ["UV_DEFAULT_INDEX"]
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {user.index.url}\n")
    user.environ["PIP_CONFIG_FILE"] = str(config)
    found = user.resolve("", "base")
    assert pins(found) == ["base==2.5"]
    assert found.index_urls == ()
    assert f"versions are chosen from {user.index.url}, which this machine's" in found.notes[0]


@pytest.mark.parametrize("where", ["pip", "uv", "netrc"])
def test_login_of_the_user_opens_the_index_and_is_in_nothing_that_is_sent(
    user: User, where: str, tmp_path: Path
) -> None:
    user.index.login = "me:secret-word"
    del user.environ["UV_DEFAULT_INDEX"]
    with_login = user.index.url.replace("//", "//me:secret-word@")
    match where:
        case "pip":
            user.environ["PIP_INDEX_URL"] = with_login
        case "uv":
            user.environ["UV_INDEX"] = f"mine={with_login}"
        case _:
            netrc = tmp_path / ".netrc"
            netrc.write_text("machine 127.0.0.1 login me password secret-word\n")
            netrc.chmod(0o600)
    given = Given(("base",), "", Indexes(user.index.url, secret="login"))
    found = user.resolve(given=given)
    assert pins(found) == ["base==2.5"]
    assert "secret-word" not in str(found)


def test_uv_resolves_once_and_its_command_line_has_no_login(user: User, tmp_path: Path) -> None:
    user.index.login = "me:secret-word"
    user.environ["UV_DEFAULT_INDEX"] = user.index.url.replace("//", "//me:secret-word@")
    real, seen = find_uv(user.environ), tmp_path / "seen"
    fake = tmp_path / "bin" / "uv"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {seen}\nexec {real} "$@"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    user.environ["PATH"] = f"{fake.parent}:{user.environ['PATH']}"
    assert pins(user.resolve("", "base")) == ["base==2.5"]
    assert seen.read_text().count("pip compile") == len(seen.read_text().splitlines()) == 1
    assert "secret-word" not in seen.read_text()


def test_index_that_wants_a_login_says_where_it_belongs(user: User) -> None:
    user.index.login = "me:secret-word"
    message = unresolved(user, "", "base")
    assert message.startswith("the index wants a login for the packages of sums.py: ")
    assert "~/.netrc" in message
    assert "--index-secret" in message


def test_index_that_is_not_reached_names_the_other_ways(user: User) -> None:
    user.environ["UV_DEFAULT_INDEX"] = "http://me:pw@127.0.0.1:9/simple"
    message = unresolved(user, "", "base")
    assert message.startswith("the packages of sums.py could not be looked up: ")
    assert "Connection refused" in message
    for way in ("--index-url URL", "--find-links /wheels", "--mount pvc:CLAIM", "--image IMAGE"):
        assert way in message
    assert "pw" not in message


def test_folder_of_wheels_needs_no_index(user: User, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    made = make_wheel(wheels, "base", "7.0")
    user.environ["UV_DEFAULT_INDEX"] = "http://127.0.0.1:9/simple"
    given = Given(("base",), "", Indexes(find_links=str(wheels)))
    assert user.resolve(given=given).manifest() == {
        "requirements": [f"base==7.0 --hash=sha256:{hash_of(made)}"],
        "findLinks": str(wheels),
    }


def test_folder_of_the_pods_alone_is_resolved_from_here_without_hashes(user: User) -> None:
    found = user.resolve(given=Given(("base",), "", Indexes(find_links="/gone/wheels")))
    assert found.requirements == ("base==2.5",)
    assert found.find_links == "/gone/wheels"
    assert "/gone/wheels is not on this machine" in found.notes[0]


# uv


def test_without_uv_full_pins_are_taken_as_they_are(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.without_uv(monkeypatch)
    found = user.resolve(block("tiny==1.0", "dask"), "base==2.5")
    assert found.requirements == ("tiny==1.0", "base==2.5")
    assert "pip install 'daskjob[uv]'" in found.notes[0]
    message = unresolved(user, block("tiny>=1"), "base==2.*")
    assert "it is not installed: tiny>=1 (dependencies of sums.py), base==2.* (--with)" in message
    assert "pip install 'daskjob[uv]'" in message


@pytest.mark.usefixtures("project")
def test_without_uv_a_lock_is_not_read(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.without_uv(monkeypatch)
    assert "there is no uv to read it: pip install 'daskjob[uv]'" in unresolved(user)


def test_uv_of_path_comes_before_the_package(user: User, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "uv"
    fake.parent.mkdir()
    # It never downloads a Python, and its messages have no login.
    said = "error: it broke at https://me:pw@h/simple, downloads $UV_PYTHON_DOWNLOADS"
    fake.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 3\n')
    fake.chmod(0o755)
    user.environ["PATH"] = str(fake.parent)
    assert find_uv(user.environ) == str(fake)
    message = rejected(user, "", "base")
    said = "it broke at https://h/simple, downloads never"
    assert message == f"uv did not resolve the packages of sums.py: {said}"


def test_uv_that_does_not_answer_is_given_up(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "uv"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    fake.chmod(0o755)
    user.environ["PATH"] = f"{fake.parent}:{user.environ['PATH']}"
    monkeypatch.setattr(uv_runs, "LONGEST_SECONDS", 0.2)
    assert "were not resolved within 0.2 s" in unresolved(user, "", "base")


def test_hashes_of_a_long_line_are_those_of_usable_files(user: User) -> None:
    tags = [
        *(f"cp3{minor}-cp3{minor}-win_amd64" for minor in range(9, 30)),
        *(f"cp3{minor}-cp3{minor}-manylinux_2_17_x86_64" for minor in range(9, 40)),
        *("cp39-abi3-musllinux_1_2_aarch64", "cp313-none-any", "py3-none-any"),
    ]
    made = {tag: make_wheel(user.index.folder, "big", "1.0", tag=tag) for tag in tags}
    # Otherwise equal hashes: the tag is in the wheel's own text.
    (line,) = user.resolve("", "big").requirements
    usable = ["cp312-cp312-manylinux_2_17_x86_64", "cp39-abi3-musllinux_1_2_aarch64"]
    expected = {hash_of(made[tag]) for tag in (*usable, "py3-none-any")}
    assert set(re.findall(r"sha256:(\w+)", line)) == expected


def test_more_packages_than_a_job_carries_are_rejected_with_the_numbers(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.without_uv(monkeypatch)
    packages = [f"p{number}==1" for number in range(501)]
    message = rejected(user, "", *packages)
    assert message.startswith("sums.py needs 501 packages, and a job carries up to 500: ")


@pytest.mark.parametrize(
    ("packages", "hashes", "message"),
    [
        (1, 120, "p0 has 120 hashes, 9485 characters, and a job carries up to 8192 of one package"),
        (80, 100, "the lock of sums.py has 617 KiB, and a job carries up to 512 KiB: put the "),
    ],
)
def test_lock_that_is_too_large_is_rejected_with_the_numbers(
    user: User, monkeypatch: pytest.MonkeyPatch, packages: int, hashes: int, message: str
) -> None:
    user.without_uv(monkeypatch)
    listed = " ".join(f"--hash=sha256:{number:064x}" for number in range(hashes))
    lines = "".join(f"p{number}==1 {listed}\n" for number in range(packages))
    found = rejected(user, given=Given((), str(user.write("r.txt", lines))))
    assert found.startswith(message)
