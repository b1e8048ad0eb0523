"""The code of a job: its files, with their limits, and where they are in the containers.

Text without folders is ``spec.job.files``, which daskjob mounts at ``/daskjob/files``. A key of a
ConfigMap has no folders. So a tree has its paths in a volume of the same ConfigMap, at
``/daskjob/code``: the manifest remains one that ``kubectl apply`` runs. More than that, and what is
no text, is an archive in ConfigMaps, and code of another place is only named: ``spec.code``.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.core import names
from daskjob.core.manifests import Manifest
from daskjob.core.names import CODE_PATH
from daskjob.core.spec.job import FILES_LIMIT, FILES_LIMIT_BYTES, MOST_FILES
from daskjob.submit.cluster_job.archive import (
    MOST_UNPACKED_BYTES,
    Archive,
    TooLarge,
    UnfitCode,
    in_kib,
    packed,
)

_PLAIN = re.compile(r"[-._a-zA-Z0-9]{1,200}")
#: What separates folders in keys; no module's name contains it.
_SEPARATOR = "--"
#: Larger manifests do not fit into the annotation of ``kubectl apply``.
APPLY_LIMIT = 256 * 1024
VOLUME = "code"
#: The code itself, as one of the folders of PYTHONPATH.
HERE = "."
#: An archive's own format has no other limit; no file system takes more.
_LONGEST_NAME = 255
#: The mode of a program in a volume, which is read-only.
_PROGRAM = 0o555


@dataclass(frozen=True, slots=True)
class Code:
    """The files of a job by their path in the containers, below ``root``."""

    files: Mapping[str, str] = field(default_factory=dict)
    #: All files instead, if they are too many for a manifest or no text.
    archive: Archive | None = None
    #: Code of another place instead: its field of ``spec.code``.
    source: Manifest = field(default_factory=dict)
    #: The folders of PYTHONPATH, below ``root``.
    paths: tuple[str, ...] = (HERE,)
    #: The files that can be executed.
    programs: frozenset[str] = frozenset()

    @property
    def is_tree(self) -> bool:
        """Whether it has folders, programs, or names that no key of a ConfigMap may have."""
        plain = all(_PLAIN.fullmatch(path) and path not in (".", "..") for path in self.files)
        return not plain or not self.programs.isdisjoint(self.files)

    @property
    def places(self) -> list[str]:
        """The paths of its files, as far as they are known."""
        return list(self.archive.sizes if self.archive else self.files)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the manifest does not have it: it is ``spec.code``."""
        return self.archive is not None or bool(self.source)

    @property
    def root(self) -> str:
        """The folder in the containers."""
        return CODE_PATH if self.is_elsewhere or self.is_tree else names.FILES_PATH

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

    @property
    def content(self) -> object:
        """What makes it other code than another one."""
        return self.archive.digest if self.archive else self.job_files()

    def job_files(self) -> dict[str, str]:
        """Return ``spec.job.files``."""
        return {key: self.files[path] for path, key in self.keys.items()}

    def spec_code(self, job: str) -> Manifest:
        """Return ``spec.code``; empty if the manifest has the code."""
        if not self.is_elsewhere:
            return {}
        source = {"configMaps": self.archive.names(job)} if self.archive else self.source
        return {**source, "paths": list(self.paths)}

    def config_maps(self, job: str) -> list[Manifest]:
        """Return the ConfigMaps that ``spec.code`` names."""
        return self.archive.config_maps(job) if self.archive else []

    def as_archive(self) -> Code:
        """Return the same code as an archive, for a manifest that is too large with it."""
        files = {path: text.encode() for path, text in self.files.items()}
        return Code(archive=packed(files, self.programs), paths=self.paths)

    def add_to(self, spec: Manifest, job: str) -> None:
        """Add the volume of a tree to a PodSpec, in place; files without folders need none."""
        if self.is_elsewhere or not self.is_tree:
            return
        items = [
            {"key": key, "path": path, **({"mode": _PROGRAM} if path in self.programs else {})}
            for path, key in self.keys.items()
        ]
        source = {"name": names.files_name(job), "items": items}
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": VOLUME, "configMap": source}]
        for container in spec.get("containers") or ():
            mounts = container.get("volumeMounts") or ()
            mount = {"name": VOLUME, "mountPath": CODE_PATH, "readOnly": True}
            container["volumeMounts"] = [*mounts, mount]
            container["env"] = _with_path(container.get("env") or [], self.paths)


def below(root: str, path: str) -> str:
    """Return a path below a folder of the containers; the folder itself for ``.``."""
    return root if path in ("", HERE) else f"{root}/{path}"


def _with_path(env: Sequence[Manifest], paths: Sequence[str]) -> list[Manifest]:
    """Return variables with the code's folders first in PYTHONPATH."""
    wanted = [below(CODE_PATH, path) for path in paths]
    found = [dict(variable) for variable in env]
    for variable in found:
        if variable.get("name") == "PYTHONPATH":
            if isinstance(variable.get("value"), str):
                variable["value"] = ":".join(filter(None, [*wanted, variable["value"]]))
            return found
    return [*found, {"name": "PYTHONPATH", "value": ":".join(wanted)}]


def read_code(
    paths: Mapping[str, Path],
    texts: Mapping[str, str] | None = None,
    *,
    python_paths: tuple[str, ...] = (HERE,),
    programs: Iterable[str] = (),
    always_packed: bool = False,
) -> Code:
    """Return the code of files on this machine, and of texts that are in no file.

    ``programs`` are the files that can be executed.

    Raises
    ------
    UnfitCode
        A file cannot be read, or they are too large together; with the numbers and what to do.
    """
    _check_names(paths)
    _check_sizes(paths)
    contents = {place: _read(path) for place, path in paths.items()}
    contents |= {place: text.encode() for place, text in (texts or {}).items()}
    files = None if always_packed else _texts(contents)
    if files is not None and _fits(files):
        return Code(files, paths=python_paths, programs=frozenset(programs))
    return Code(archive=packed(contents, programs), paths=python_paths)


def _check_names(paths: Mapping[str, Path]) -> None:
    """Reject names that the containers cannot have."""
    for place, path in paths.items():
        try:
            parts = place.encode().split(b"/")
        except UnicodeEncodeError as error:
            raise UnfitCode(f"the name of {str(path)!r} is not UTF-8; rename it") from error
        if any(part in (b"", b".", b"..") or len(part) > _LONGEST_NAME for part in parts):
            raise UnfitCode(f"{path} would be {place!r} in the containers, which is no path there")


def _check_sizes(paths: Mapping[str, Path]) -> None:
    """Reject huge files before they are read."""
    sizes = {}
    for place, path in paths.items():
        try:
            sizes[place] = path.stat().st_size
        except OSError as error:
            raise UnfitCode(f"{path} cannot be read: {error.strerror}") from error
    total = sum(sizes.values())
    if total > MOST_UNPACKED_BYTES:
        raise TooLarge(sizes, in_kib(total))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnfitCode(f"{path} cannot be read: {error.strerror}") from error


def _texts(contents: Mapping[str, bytes]) -> dict[str, str] | None:
    """Return files as text; ``None`` if one is not UTF-8 text, as a manifest is."""
    found = {}
    for place, data in contents.items():
        text = text_of(place, data)
        if text is None:
            return None
        found[place] = text
    return found


def text_of(place: str, data: bytes) -> str | None:
    """Return the text of a file; ``None`` if it is no UTF-8 text."""
    encoding = "utf-8"
    try:
        if place.endswith((".py", ".pyw")):
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode("utf-8")
    except (UnicodeDecodeError, SyntaxError):
        return None
    return None if "\0" in text or encoding not in ("utf-8", "utf-8-sig") else text


def _fits(files: Mapping[str, str]) -> bool:
    """Return whether a manifest holds these files."""
    characters = sum(len(text) + len(place) + 2 for place, text in files.items())
    size = sum(len(text.encode(errors="replace")) for text in files.values())
    return characters <= FILES_LIMIT and size <= FILES_LIMIT_BYTES and len(files) <= MOST_FILES
