"""Users' plugins: found as dask-kubernetes documents, loaded one by one, never fatal."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from daskjob.controller.plugins import find_plugins, load_plugins
from tests.controller.plugin_packages import install


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder into which packages can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_no_plugins_are_found_where_none_is_installed() -> None:
    assert find_plugins() == []


def test_installed_plugins_are_found_without_loading_them(platform: Path) -> None:
    install(platform, "second", "raise RuntimeError('loaded')")
    install(platform, "first", "raise RuntimeError('loaded')")
    assert [plugin.name for plugin in find_plugins()] == [
        "first (first.plugin)",
        "second (second.plugin)",
    ]


def test_plugin_is_its_module_as_documented(platform: Path) -> None:
    install(platform, "my_controller_plugin", "LOADED = True")
    assert load_plugins(find_plugins()) == 1
    assert sys.modules["my_controller_plugin.plugin"].LOADED


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError: "),
    ],
)
def test_plugin_that_cannot_be_loaded_is_logged_and_left_out(
    platform: Path, text: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"broken_{abs(hash(text))}"
    install(platform, name, text)
    install(platform, f"{name}_well", "LOADED = True")
    with caplog.at_level(logging.INFO):
        assert load_plugins(find_plugins()) == 1
    assert f"plugin {name} ({name}.plugin) could not be loaded and is skipped: {error}" in (
        caplog.text
    )


def test_modules_and_files_of_the_command_line_are_plugins_too(platform: Path) -> None:
    (platform / "handlers_of_mine.py").write_text("LOADED = True")
    folder = platform / "apart"
    folder.mkdir()
    (folder / "beside_the_file.py").write_text("WORD = 'found'")
    (folder / "file.py").write_text("from beside_the_file import WORD")
    path = sys.path[:]
    try:
        assert load_plugins(find_plugins(["handlers_of_mine"], [str(folder / "file.py")])) == 2
    finally:
        sys.path[:] = path
    assert sys.modules["handlers_of_mine"].LOADED
    assert sys.modules[f"__kopf_script_0__{folder / 'file.py'}"].WORD == "found"


def test_file_that_does_not_exist_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert load_plugins(find_plugins([], ["nowhere.py", "README.md"])) == 0
    assert "nowhere.py could not be loaded" in caplog.text
