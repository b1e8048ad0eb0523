"""Runs the installer of pods, ``daskjob/in_pod.py``, as a process of this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import daskjob
from daskjob.backends.local.overlays import Cancelled

#: Run by path, since the Python that gets the packages may lack daskjob.
LAUNCHER = Path(__file__).with_name("install_launcher.py")
IN_POD = Path(daskjob.__file__).with_name("in_pod.py")
#: How often to look whether the run was cancelled.
LOOK_SECONDS = 0.05
#: Exit codes of the installer: another try would end the same way; the network did not answer.
NEVER, LATER = 78, 75
_NO_SPACE = re.compile(r"no space left|disk quota exceeded|no space is left", re.IGNORECASE)
#: Words of the installer about pods, and those for this machine.
_WORDS = (
    ("the Python of the image is", "the Python of this environment is"),
    ("the image has neither", "there is neither"),
    ("Use an image with one of them, or with the packages", "Install one of them"),
    ("Use an image with such a Python", "Choose another Python (--python)"),
    ("the index that the image's", "the index that"),
    (
        "If pods cannot reach it, name a mirror: --index-url URL",
        'Check the network, or name a mirror in [tool.daskjob]: index-url = "URL"',
    ),
    (
        "--mount pvc:CLAIM:/wheels --find-links /wheels; or an image that has the packages",
        'find-links = "FOLDER"',
    ),
    ("wheels on a volume", "a folder of wheels"),
    ("of the image, which all roles share", "of this environment"),
    ("of the image", "of this environment"),
    ("the image has no git. Use an image with git", "there is no git. Install it"),
    ("the image has no ssh", "there is no ssh"),
    ("or an image with ssh", "or install ssh"),
    ("Use an image with", "Choose an environment (--python) with"),
    ("use an image with", "choose an environment (--python) with"),
)


class NotInstalled(Exception):
    """Packages, or the code, cannot be had; ``code`` shows whether another try may help."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Installation:
    """One run of the installer."""

    python: str
    environment: Mapping[str, str]
    #: As ``in_pod.py`` reads them, but for the folders.
    settings: Mapping[str, Any]
    #: The fields of Secrets, by the name that the settings have for their folder.
    logins: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict, repr=False)

    def into(self, folder: Path, cancelled: threading.Event) -> None:
        """Install into a folder.

        Raises
        ------
        NotInstalled
            It cannot be installed.
        Cancelled
            The run was cancelled meanwhile; nothing runs any more.
        """
        with tempfile.TemporaryDirectory(prefix="daskjob-install-") as name:
            work = Path(name)
            self._write(work, folder)
            code, output = self._run(work, cancelled)
            if code:
                message = work / "message"
                said = message.read_text(errors="replace") if message.exists() else output
                raise _failure(code, said, folder.parent)

    def _write(self, work: Path, folder: Path) -> None:
        """Write the settings and the Secrets, for this user only: the folder is new."""
        for place, fields in self.logins.items():
            (work / place).mkdir()
            for name, value in fields.items():
                (work / place / name).write_bytes(value)
        # It empties the folder of packages, also where there are none.
        empty = work / "packages"
        settings: dict[str, Any] = {"packages": str(empty), **self.settings}
        code = settings.get("code")
        if code:
            settings["code"] = {**code, "folder": str(folder)}
            if "git" in code and "git" in self.logins:
                settings["code"]["git"] = {**code["git"], "login": str(work / "git")}
        else:
            settings["packages"] = str(folder)
        if "index" in self.logins:
            settings["login"] = str(work / "index")
        settings["message"] = str(work / "message")
        (work / "settings.json").write_text(json.dumps(settings))

    def _run(self, work: Path, cancelled: threading.Event) -> tuple[int, str]:
        own = str(os.getpid())
        command = [self.python, str(LAUNCHER), own, str(IN_POD), str(work / "settings.json")]
        output = work / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                env=dict(self.environment),
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(LOOK_SECONDS)
                    return code, output.read_text(errors="replace")
                if cancelled.is_set():
                    raise Cancelled
        finally:
            # Also where Ctrl-C has ended the wait: nothing goes on in the background.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _failure(code: int, said: str, root: Path) -> NotInstalled:
    """Return a failure of the installer in words for this machine."""
    if _NO_SPACE.search(said):
        return NotInstalled(
            NEVER,
            f"no space is left in {root} for the packages: free some, or name a folder on another "
            "disk: XDG_CACHE_HOME=FOLDER",
        )
    for word, here in _WORDS:
        said = said.replace(word, here)
    lines = [line for line in said.splitlines() if line.strip()]
    message = "\n".join(lines[-20:]) or f"the installer ended with code {code}, without a message"
    return NotInstalled(code if code in (NEVER, LATER) else NEVER, message)
