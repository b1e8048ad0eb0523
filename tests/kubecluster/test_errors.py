"""`daskjob.errors`: every exception that a program can get, in one place."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import traceback
from typing import Any

import pytest

from daskjob import ClusterClient, JobClient, KubeCluster, classic, errors
from daskjob.core.errors import DaskJobError

#: Their modules define all exceptions, so they are imported.
CALLED = (ClusterClient, JobClient, KubeCluster, classic.KubeCluster)
#: What programs call; all exceptions that are defined there are public.
PROGRAMS = r"daskjob\.(kubecluster|classic|submit\.(client|clusters|jobs|sync|local\w*))\b"
#: A row of the tree: its depth, its name, and in brackets what else it is.
ROW = re.compile(
    r"^ {4}(?P<bars>[│ ]*)[├└]── (?P<name>\w+)(?P<what>.*?)(?:\((?P<also>\w+)\))?$", re.M
)
LOADED = """
import sys
import daskjob
before = set(sys.modules)
%s
print(sorted(name for name in set(sys.modules) - before if not name.startswith("encodings")))
"""


def subclasses(base: type) -> set[type]:
    found: set[type] = set(base.__subclasses__())
    return found.union(*map(subclasses, found))


def shown() -> dict[str, tuple[str, str]]:
    """The parent of each exception of the tree, and which other exception it is."""
    parents = ["DaskJobError"]
    found: dict[str, tuple[str, str]] = {}
    for row in ROW.finditer(errors.__doc__ or ""):
        depth = len(row["bars"]) // 4
        parents = [*parents[: depth + 1], row["name"]]
        found[row["name"]] = (parents[depth], row["also"] or "")
    return found


def actual(name: str) -> tuple[str, str]:
    bases = getattr(errors, name).__bases__
    others = [base.__name__ for base in bases if not issubclass(base, DaskJobError)]
    return bases[0].__name__, (others or [""])[0]


def test_the_tree_shows_every_exception_below_its_parent() -> None:
    exceptions = [
        name for name in errors.__all__ if issubclass(getattr(errors, name), DaskJobError)
    ]
    assert shown() == {name: actual(name) for name in exceptions if name != "DaskJobError"}


def test_every_exception_that_programs_get_is_public() -> None:
    raised = {one for one in subclasses(DaskJobError) if re.match(PROGRAMS, one.__module__)}
    assert {one.__name__ for one in raised} - set(errors.__all__) == set()
    assert len(raised) > 20


@pytest.mark.parametrize("name", ["StartTimeout", "LocalPortTaken", "SchedulerUnreachable"])
def test_an_exception_can_be_imported_caught_and_pickled(name: str) -> None:
    kind = getattr(errors, name)
    with pytest.raises(errors.DaskJobError, match=r"^why$"):
        raise pickle.loads(pickle.dumps(kind("why")))


@pytest.mark.parametrize(
    ("use", "loaded"),
    [
        ("daskjob.errors", ["daskjob.errors"]),
        ("from daskjob import errors", ["daskjob.errors"]),
        ("from daskjob.errors import Timeout", ["daskjob.core.errors", "daskjob.errors"]),
    ],
)
def test_an_import_loads_the_module_of_what_is_used(use: str, loaded: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED % use], capture_output=True, text=True, check=True
    )
    found = [name for name in eval(done.stdout) if re.match(r"daskjob\.(\w+\.)?errors", name)]
    assert found == loaded
    assert not re.search("distributed|aiohttp|msgspec|daskjob.(kube|submit)", done.stdout)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'daskjob\.errors' has no attribute 'Nothing'"):
        errors.Nothing  # noqa: B018


def test_an_exception_of_a_client_names_the_extra_that_is_missing() -> None:
    program = "import sys; sys.modules['aiohttp'] = None\nfrom daskjob.errors import StartTimeout"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "StartTimeout needs aiohttp: pip install 'daskjob[kubernetes]'" in done.stderr


@pytest.mark.parametrize("kind", [KubeCluster, classic.KubeCluster])
def test_a_start_that_fails_shows_the_users_call_and_the_reason_only(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/missing/config")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    given = () if kind is KubeCluster else (classic.make_pod_spec("i"),)
    with pytest.raises(errors.DaskJobError, match="/missing/config does not exist") as caught:
        kind(*given, name="mine", quiet=True)
    shown = "".join(traceback.format_exception(caught.value))
    assert "direct cause" not in shown
    assert "During handling" not in shown
    # In a notebook, each call inside daskjob is some lines above the reason.
    assert len(re.findall("^  File ", shown, re.M)) <= 6
