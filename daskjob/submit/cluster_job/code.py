"""The code of a job: its files, with their limits, and where they are in the containers.

Files without folders are ``spec.job.files``, which daskjob mounts at ``/daskjob/files``. A key of a
ConfigMap has no folders. So a tree has its paths in a volume of the same ConfigMap, at
``/daskjob/code``: the manifest remains one that ``kubectl apply`` runs.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.core import names
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest
from daskjob.core.spec.job import FILES_LIMIT, FILES_LIMIT_BYTES, MOST_FILES
from daskjob.submit.settings.items import CODE_PATH

_PLAIN = re.compile(r"[-._a-zA-Z0-9]{1,200}")
#: What separates folders in keys; no module's name contains it.
_SEPARATOR = "--"
#: Larger manifests do not fit into the annotation of ``kubectl apply``.
APPLY_LIMIT = 256 * 1024
VOLUME = "code"
#: The number of files that a message lists.
_LISTED = 5


class UnfitCode(DaskJobError):
    """Code that cannot be sent with the job: wrong usage, and nothing was started."""


@dataclass(frozen=True, slots=True)
class Code:
    """The files of a job by their path in the containers, below ``root``."""

    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_tree(self) -> bool:
        """Whether it has folders, or names that no key of a ConfigMap may have."""
        return not all(_PLAIN.fullmatch(path) and path not in (".", "..") for path in self.files)

    @property
    def root(self) -> str:
        """The folder in the containers."""
        return CODE_PATH if self.is_tree else names.FILES_PATH

    @property
    def keys(self) -> Mapping[str, str]:
        """The key of each file, by its path."""
        if not self.is_tree:
            return {path: path for path in self.files}
        found: dict[str, str] = {}
        for number, path in enumerate(sorted(self.files)):
            key = path.replace("/", _SEPARATOR)
            taken = key in found.values() or not _PLAIN.fullmatch(key) or key.startswith("..")
            found[path] = f"file{_SEPARATOR}{number}" if taken else key
        return found

    def job_files(self) -> dict[str, str]:
        """Return ``spec.job.files``."""
        return {key: self.files[path] for path, key in self.keys.items()}

    def add_to(self, spec: Manifest, job: str) -> None:
        """Add the volume of a tree to a PodSpec, in place; files without folders need none."""
        if not self.is_tree:
            return
        items = [{"key": key, "path": path} for path, key in self.keys.items()]
        source = {"name": names.files_name(job), "items": items}
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": VOLUME, "configMap": source}]
        for container in spec.get("containers") or ():
            mounts = container.get("volumeMounts") or ()
            mount = {"name": VOLUME, "mountPath": CODE_PATH, "readOnly": True}
            container["volumeMounts"] = [*mounts, mount]
            container["env"] = _with_path(container.get("env") or [])


def _with_path(env: Sequence[Manifest]) -> list[Manifest]:
    """Return variables with the code first in PYTHONPATH."""
    found = [dict(variable) for variable in env]
    for variable in found:
        if variable.get("name") == "PYTHONPATH":
            if isinstance(variable.get("value"), str):
                variable["value"] = ":".join(filter(None, [CODE_PATH, variable["value"]]))
            return found
    return [*found, {"name": "PYTHONPATH", "value": CODE_PATH}]


def read_code(paths: Mapping[str, Path], texts: Mapping[str, str] | None = None) -> Code:
    """Return the code of files on this machine, and of texts that are in no file.

    Raises
    ------
    UnfitCode
        A file is no text, or they are too large together; with the numbers and what to do instead.
    """
    _check_sizes(paths)
    files = {**{place: _text(path) for place, path in paths.items()}, **(texts or {})}
    _check_total(files)
    return Code(files)


def _check_sizes(paths: Mapping[str, Path]) -> None:
    """Reject a huge file before it is read."""
    for place, path in paths.items():
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UnfitCode(f"{path} cannot be read: {error.strerror}") from error
        if size > 4 * FILES_LIMIT:
            raise UnfitCode(_too_large({place: size}, size))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        encoding = "utf-8"
        if path.suffix in (".py", ".pyw"):
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode("utf-8")
    except OSError as error:
        raise UnfitCode(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, SyntaxError):
        text, encoding = "", "binary"
    if "\0" in text:
        raise UnfitCode(
            f"{path} has a NUL character, and a job's files are text. Put other files into the "
            "image (--image) or a volume (--mount pvc:CLAIM:/path)"
        )
    if encoding not in ("utf-8", "utf-8-sig"):
        raise UnfitCode(
            f"{path} is not UTF-8 text, and a job's files are text. Save it as UTF-8; put other "
            "files into the image (--image) or a volume (--mount pvc:CLAIM:/path)"
        )
    return text


def _check_total(files: Mapping[str, str]) -> None:
    sizes = {place: len(text.encode(errors="replace")) for place, text in files.items()}
    characters = sum(len(text) + len(place) + 2 for place, text in files.items())
    if characters > FILES_LIMIT or sum(sizes.values()) > FILES_LIMIT_BYTES:
        raise UnfitCode(_too_large(sizes, sum(sizes.values())))
    if len(files) > MOST_FILES:
        raise UnfitCode(
            f"the script imports {len(files)} files of its own, and a job has at most "
            f"{MOST_FILES}: put them into the image (--image) or a volume (--mount pvc:CLAIM:/path)"
        )


def _too_large(sizes: Mapping[str, int], total: int) -> str:
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:_LISTED]
    listed = ", ".join(f"{place} {size // 1024:,} KiB" for place, size in largest)
    return (
        f"the script and its files have {total // 1024:,} KiB, and a job carries up to "
        f"{FILES_LIMIT // 1024} KiB; the largest: {listed}. Put the package into the image "
        "(--image), or the files into a volume (--mount pvc:CLAIM:/path)"
    )
