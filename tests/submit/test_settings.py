"""Settings: their values, the places that they come from, and the order of these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from daskjob.submit.settings.documentation import settings_table
from daskjob.submit.settings.kinds import Bounds
from daskjob.submit.settings.merge import Merged, merged
from daskjob.submit.settings.origins import origin_comments
from daskjob.submit.settings.sources import (
    Layer,
    Places,
    WrongSettings,
    default_layer,
    flags_layer,
    project_layer,
    script_layer,
    user_layer,
)
from daskjob.submit.settings.table import DEFAULTS, GROUP_SETTINGS, SETTINGS
from tests.docs.documents import ROOT


def of_flags(**given: object) -> Merged:
    return merged([flags_layer({key.replace("_", "-"): value for key, value in given.items()})])


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("memory", "4GiB", "4Gi"),
        ("memory", "4 GB", "4G"),
        ("memory", "1536Mi", "1536Mi"),
        ("memory", "1.5Gi", "1536Mi"),
        ("memory", 4294967296, "4Gi"),
        ("cpu", "0.5", "500m"),
        ("cpu", 2, "2"),
        ("cpu", 1.5, "1500m"),
        ("cpu", "2000m", "2"),
        ("workers", "0", 0),
        ("workers", 10, 10),
        ("adapt", "0:1", Bounds(0, 1)),
        ("adapt", " 2:10 ", Bounds(2, 10)),
        ("deadline", "1h30m", 5400),
        ("deadline", 90, 90),
        ("ttl", "7d", 604800),
        ("env", {"N": 1, "F": 0.5, "T": "x"}, {"N": "1", "F": "0.5", "T": "x"}),
        ("env", ["A=1=2", "B="], {"A": "1=2", "B": ""}),
        ("labels", {"example.org/team": "a"}, {"example.org/team": "a"}),
        ("run-as-user", "image", "image"),
    ],
)
def test_value_is_read_from_text_and_from_tables(key: str, written: object, value: object) -> None:
    found = merged([Layer("a place", {key: written})]).settings
    assert getattr(found, SETTINGS[key].field) == value


@pytest.mark.parametrize(
    ("key", "written", "message"),
    [
        ("memory", "4", "did you mean 4Gi?"),
        ("memory", "lots", "write a size such as 512Mi, 4Gi or 4G"),
        ("memory", True, "write a size"),
        ("memory", "100Mi", "at least 256Mi"),
        ("cpu", "two", "did you mean '2'?"),
        ("cpu", "0", "from 1m"),
        ("cpu", "0.0001", "from 1m"),
        ("cpu", "1.0005", "from 1m"),
        ("workers", -1, "from 0 to 10000"),
        ("workers", True, "from 0 to 10000"),
        ("workers", "1.5", "from 0 to 10000"),
        ("adapt", "10:2", "2:10, not 10:2"),
        ("adapt", "4", "such as 2:10"),
        ("adapt", 130, "such as 2:10, in quotes"),
        ("adapt", "0:0", "from 1 to 10000"),
        ("deadline", "soon", "such as 90, 90s, 10m or 1h30m"),
        ("deadline", "0", "at least 1 s"),
        ("deadline", True, "such as 90"),
        ("image", "", "write the reference of an image"),
        ("image", "a b", "write the reference of an image"),
        ("env", {"A-B": "1"}, "'A-B': write a variable's name"),
        ("env", {"A": ["1"]}, "A: ['1']: write a text"),
        ("env", ["A"], "'A': write KEY=VALUE"),
        ("labels", {"-a": "1"}, "'-a': write a name as of a Kubernetes label"),
        ("labels", {"a": "b/c"}, "a: 'b/c': write up to 63"),
        ("secrets", ["A_B"], "'A_B': write NAME[:KEY=ENV]"),
        ("secrets", ["db:"], "'db:': write a key of the Secret: db:KEY=ENV"),
        ("secrets", ["db:pass-word"], "db:pass-word=PASS_WORD"),
        ("secrets", [3], "3: write NAME[:KEY=ENV]"),
        ("mounts", ["nfs:a:/b"], "write one of pvc:NAME:/path"),
        ("mounts", ["pvc:a"], "absolute path in the containers: pvc:a:/data"),
        ("mounts", ["pvc:a:b"], "absolute path"),
        ("mounts", ["pvc:a:/x/../y"], "absolute path"),
        ("mounts", ["pvc:a:/x:readonly"], "write pvc:a:/x:ro"),
        ("mounts", ["secret:a:/x:rw"], "a secret is read-only"),
        ("mounts", ["pvc:a:/daskjob/files"], "in use already"),
        ("tolerations", ["a:Never"], "one of NoSchedule, PreferNoSchedule, NoExecute"),
        ("tolerations", ["=b"], "write KEY[=VALUE][:EFFECT]"),
        ("run-as-user", "0", "a user's number above 0"),
        ("groups", {"default": {}}, "this one is reserved"),
        ("groups", {"my-scheduler": {}}, "this one is reserved"),
        ("groups", {"A": {}}, "'A': write a name"),
        ("groups", {"big": {"memroy": "4Gi"}}, "did you mean 'memory'?"),
        ("groups", {"big": {"memory": "4"}}, "big: memory: '4': did you mean 4Gi?"),
        ("groups", ["big:gpu"], "'gpu': write NAME:KEY=VALUE"),
        ("memroy", "4Gi", "there is no setting 'memroy'; did you mean 'memory'?"),
        ("node_selector", {}, "did you mean 'node-selector'?"),
        ("zzz", 1, "known are adapt, annotations"),
        ("token", "a", "'token' is for one submission; write it as the flag --token"),
        ("name", "a", "write it as the flag --name"),
    ],
)
def test_mistake_has_its_place_and_what_to_write(key: str, written: object, message: str) -> None:
    with pytest.raises(WrongSettings) as caught:
        merged([Layer("[tool.daskjob] of a.py", {key: written})])
    assert message in str(caught.value)
    assert str(caught.value).startswith("[tool.daskjob] of a.py")


def test_all_mistakes_of_all_places_are_reported_at_once() -> None:
    layers = [Layer("one", {"memory": "x", "a": 1}), Layer("two", {"cpu": "y"})]
    with pytest.raises(WrongSettings) as caught:
        merged(layers)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        *("one", "one", "two")
    ]


def places(**more: Layer) -> Places:
    return Places(**more)


def test_flag_is_before_script_before_profile_before_project_before_user() -> None:
    user = Layer("user", {"memory": "1Gi", "cpu": 1, "retries": 1, "ttl": 1, "image": "u"})
    values: Mapping[str, object] = {
        "memory": "2Gi",
        "cpu": 2,
        "retries": 2,
        "ttl": 2,
        "profiles": {"p": {"memory": "3Gi", "cpu": 3, "retries": 3}},
    }
    found = Places(
        user=user,
        project=Layer("project", values),
        script=Layer("script", {"memory": "4Gi", "cpu": 4}),
    )
    layers = [default_layer(), *found.layers("p"), flags_layer({"memory": "5Gi"})]
    result = merged(layers)
    settings = result.settings
    assert (settings.memory, settings.cpu, settings.retries) == ("5Gi", "4", 3)
    assert (settings.ttl, settings.image, settings.workers) == (2, "u", 2)
    assert result.origins["memory"] == ("--memory",)
    assert result.origins["retries"] == ("profile p of project",)
    assert result.origins["workers"] == ("default",)


def test_profile_of_the_script_is_used_unless_a_flag_names_another() -> None:
    profiles = {"a": {"cpu": 1}, "b": {"cpu": 2}}
    found = Places(project=Layer("p", {"profiles": profiles}), script=Layer("s", {"profile": "a"}))
    assert merged(found.layers()).settings.cpu == "1"
    assert merged(found.layers("b")).settings.cpu == "2"
    with pytest.raises(WrongSettings, match="no profile 'c'; known are a, b"):
        found.layers("c")
    with pytest.raises(WrongSettings, match=r"write it as \[tool.daskjob.profiles.x\]"):
        Places().layers("x")


def test_lists_and_tables_of_places_add_up() -> None:
    low = Layer("low", {"env": {"A": "1", "B": "1"}, "mounts": ["pvc:a:/a", "pvc:b:/b"]})
    high = Layer("high", {"env": {"B": "2"}, "mounts": ["pvc:c:/b", "secret:s:/s"]})
    result = merged([low, high])
    assert result.settings.env == {"A": "1", "B": "2"}
    mounts = [str(item) for item in result.settings.mounts]
    assert mounts == ["pvc:a:/a", "pvc:c:/b", "secret:s:/s:ro"]
    assert result.origins["env"] == ("low", "high")


def test_groups_of_places_add_up_setting_by_setting() -> None:
    low = Layer("low", {"groups": {"big": {"memory": "8Gi", "workers": 1}}})
    high = flags_layer({"groups": ["big:workers=3", "gpu:gpu=1"]})
    groups = merged([low, high]).settings.groups
    assert groups["big"].settings == {"memory": "8Gi", "workers": 3}
    assert groups["gpu"].settings == {"gpu": 1}


@pytest.mark.parametrize(
    ("low", "high", "gone"),
    [
        ({"adapt": "2:10"}, {"workers": 4}, "adapt"),
        ({"workers": 4}, {"adapt": "2:10"}, "workers"),
        ({"threads": 2}, {"cpu": 4}, "threads"),
        ({"cpu": 4}, {"threads": 2}, "cpu"),
    ],
)
def test_one_of_a_pair_replaces_the_other_of_a_less_important_place(
    low: Mapping[str, object], high: Mapping[str, object], gone: str
) -> None:
    found = merged([Layer("low", low), Layer("high", high)])
    assert getattr(found.settings, SETTINGS[gone].field) is None
    assert gone not in found.origins
    both = merged([Layer("low", {**low, **high})])
    assert getattr(both.settings, SETTINGS[gone].field) is not None


def test_project_is_the_nearest_pyproject(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.daskjob]\nmemory = "1Gi"\n')
    found = project_layer(inner)
    assert found is not None
    assert found.values == {"memory": "1Gi"}
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\n")
    assert project_layer(inner) is None
    (inner / "pyproject.toml").write_text("[tool\n")
    with pytest.raises(WrongSettings, match="is not TOML"):
        project_layer(inner)
    (inner / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(WrongSettings, match="is not UTF-8 text"):
        project_layer(inner)


@pytest.mark.parametrize("table", [3, "memory", [1]])
def test_what_is_no_table_is_a_mistake_with_an_example(table: object) -> None:
    with pytest.raises(WrongSettings, match='write a table of settings, such as memory = "4Gi"'):
        script_layer(table, "a.py")
    with pytest.raises(WrongSettings, match="daskjob of Dask's configuration"):
        user_layer({"daskjob": table})


def test_dasks_configuration_may_have_underscores() -> None:
    config = {"daskjob": {"node_selector": {"a_b": "c"}, "profiles": {"x": {"run_as_user": "7"}}}}
    layer = user_layer(config)
    assert merged(Places(user=layer).layers()).settings.node_selector == {"a_b": "c"}
    assert merged(Places(user=layer).layers("x")).settings.run_as_user == "7"
    assert user_layer({}) is None


def test_origins_are_comments_in_the_order_of_the_table() -> None:
    layers = [default_layer(), flags_layer({"secrets": ["db:key=KEY"], "workers": "3"})]
    lines = origin_comments(merged(layers)).splitlines()
    assert all(line.startswith("# ") for line in lines)
    assert lines[0].split() == ["#", "workers", "3", "--workers"]
    assert "# secrets           db:key=KEY      --secret" in lines


def test_every_setting_reads_its_own_example() -> None:
    import tomllib

    for setting in SETTINGS.values():
        value = tomllib.loads(f"x = {setting.kind.example}")["x"]
        setting.kind.read(value)
    assert set(DEFAULTS) <= set(SETTINGS)
    assert set(GROUP_SETTINGS) < set(SETTINGS)


def test_no_two_settings_share_a_flag() -> None:
    flags = [flag for setting in SETTINGS.values() for flag in setting.flags]
    assert len(flags) == len(set(flags))


def test_documentation_has_the_table() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    assert settings_table() in text, f"write into docs/settings.md:\n{settings_table()}"
