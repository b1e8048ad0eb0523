"""The code of a job as one compressed archive, in ConfigMaps. No I/O.

The same files make the same archive, so that its hash can name the ConfigMaps before the job
exists, and a repeated submission finds its own. The hash is that of the compressed bytes: parts of
archives that another version of the compressor made never meet under one name.
"""

from __future__ import annotations

import base64
import hashlib
import io
import lzma
import tarfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from daskjob.core import names
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest

#: What the API server stores in one ConfigMap.
PART_BYTES = 1024 * 1024
MOST_PARTS = 8
MOST_BYTES = MOST_PARTS * PART_BYTES
#: More than this is asked about: each pod of the job reads it.
ASK_BYTES = 2 * PART_BYTES
#: The key of a part in its ConfigMap.
PART_KEY = "part"
#: Unpacked, more than this is no code: it would not fit into 8 parts either.
MOST_UNPACKED_BYTES = 64 * 1024 * 1024
#: Hex digits of the archive's hash in names.
_DIGITS = 10
#: Compresses source to a sixth; unpacking needs 9 MiB of memory.
_PRESET = 6
_FILE, _PROGRAM = 0o644, 0o755
_KIB, _MIB = 1024, 1024 * 1024
#: The number of files that a message lists.
_LISTED = 5
ALTERNATIVES = (
    "--code git+URL@COMMIT fetches the code from its repository, --code pvc:CLAIM/PATH and "
    "--code image:REF have it where the pods run, --mount pvc:CLAIM:/path is for data"
)


#: What helps with files that were asked for one by one.
_OF_FILES = (
    "--file is for small files. Where else the job reads them from: a volume, --mount "
    "pvc:CLAIM:/path; a URL or an object store, which the script opens; or an image that has them, "
    "--image IMAGE"
)


class UnfitCode(DaskJobError):
    """Code that cannot be sent with the job: wrong usage, and nothing was started."""


class TooLarge(UnfitCode):
    """More code than a job carries."""

    def __init__(self, sizes: Mapping[str, int], found: str, asked: Collection[str] = ()) -> None:
        """Name the numbers, the largest files, and the alternatives.

        ``asked`` are the places of files that were asked for one by one.
        """
        is_asked = max(sizes, key=lambda path: sizes[path]) in asked
        helps = _OF_FILES if is_asked else f"A .daskjobignore leaves files out; {ALTERNATIVES}"
        files = "1 file has" if len(sizes) == 1 else f"{len(sizes):,} files have"
        super().__init__(
            f"the code's {files} {found}, and a job carries up to {in_kib(MOST_BYTES)} "
            f"compressed; the largest: {_largest(sizes)}. {helps}"
        )
        self.sizes = sizes
        self.found = found


@dataclass(frozen=True)
class Archive:
    """Files by their path, packed."""

    data: bytes
    #: Bytes of each file, by its path.
    sizes: Mapping[str, int]

    @cached_property
    def digest(self) -> str:
        """The hash that names it."""
        return hashlib.sha256(self.data).hexdigest()[:_DIGITS]

    @property
    def parts(self) -> list[bytes]:
        """What each ConfigMap has."""
        return [
            self.data[start : start + PART_BYTES] for start in range(0, len(self.data), PART_BYTES)
        ]

    @property
    def shown(self) -> str:
        """Its size, for people."""
        return (
            f"{len(self.sizes):,} files with {in_kib(sum(self.sizes.values()))}, "
            f"{in_kib(len(self.data))} compressed"
        )

    @property
    def largest(self) -> str:
        """Its largest files, for people."""
        return _largest(self.sizes)

    def names(self, job: str) -> list[str]:
        """Return the names of its ConfigMaps, in order."""
        return [part_name(job, self.digest, number) for number in range(len(self.parts))]

    def config_maps(self, job: str) -> list[Manifest]:
        """Return its ConfigMaps, without a namespace and an owner."""
        named = zip(self.names(job), self.parts, strict=True)
        return [part_config_map(job, name, encoded(part)) for name, part in named]


def part_name(job: str, digest: str, number: int) -> str:
    """Return the name of the ConfigMap with a part of a job's code."""
    return f"{names.code_prefix(job)}{digest}-{number}"


def encoded(part: bytes) -> str:
    """Return a part as ``binaryData`` has it."""
    return base64.b64encode(part).decode()


def part_config_map(job: str, name: str, part: str) -> Manifest:
    """Return the ConfigMap with an encoded part."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "labels": {names.LABEL_CLUSTER_NAME: names.label_value(job)},
        },
        "immutable": True,
        "binaryData": {PART_KEY: part},
    }


def packed(files: Mapping[str, bytes], programs: Iterable[str] = ()) -> Archive:
    """Return the archive of files by their path; ``programs`` can be executed.

    Raises
    ------
    UnfitCode
        They are too large, also compressed; with the numbers and what to do instead.
    """
    sizes = {path: len(data) for path, data in files.items()}
    total = sum(sizes.values())
    if total > MOST_UNPACKED_BYTES:
        raise TooLarge(sizes, in_kib(total))
    archive = Archive(_compressed(files, frozenset(programs)), sizes)
    if len(archive.data) > MOST_BYTES:
        raise TooLarge(sizes, f"{in_kib(total)}, {in_kib(len(archive.data))} compressed")
    return archive


def _compressed(files: Mapping[str, bytes], programs: frozenset[str]) -> bytes:
    target = io.BytesIO()
    with (
        lzma.open(target, "wb", preset=_PRESET) as compressor,
        tarfile.open(fileobj=compressor, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(files):
            # A fresh TarInfo has no owner and no time: nothing of this machine.
            member = tarfile.TarInfo(path)
            member.size = len(files[path])
            member.mode = _PROGRAM if path in programs else _FILE
            tar.addfile(member, io.BytesIO(files[path]))
    return target.getvalue()


def _largest(sizes: Mapping[str, int]) -> str:
    found = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_LISTED]
    return ", ".join(f"{path} {in_kib(size)}" for path, size in found)


def in_kib(size: int) -> str:
    """Return a number of bytes for people."""
    if size >= 10 * _MIB:
        return f"{size / _MIB:,.1f} MiB"
    return f"{size // _KIB:,} KiB" if size >= _KIB else f"{size} bytes"
