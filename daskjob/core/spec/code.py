"""The code of a job beyond single files: where every pod gets it from.

It is at ``/daskjob/code`` in the runner, the scheduler and the workers, and on their PYTHONPATH
(design §5.7).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from daskjob.core import names
from daskjob.core.fields import Reader
from daskjob.core.rows import required, row, shapes_of
from daskjob.core.shapes import Many, Record, Rule, Text
from daskjob.core.spec.environment import LONGEST_URL, object_name
from daskjob.core.spec.fields import read_fields
from daskjob.core.spec.texts import list_of, read_numbered, read_texts

T = TypeVar("T")

#: As many ConfigMaps as hold 8 MiB: one object of a few MiB more would slow down etcd.
MOST_PARTS = 8
MOST_PATHS = 20
LONGEST_PATH = 255
LONGEST_IMAGE = 512
#: The code's own folder.
DEFAULT_PATHS = (".",)

_RELATIVE = "write a relative path without '..' and ':', such as src"
#: RE2 has no look-ahead, so "no part is .." is a rule of its own.
_UPWARDS = re.compile("(^|/)[.][.](/|$)")
INSIDE = Rule(f"!self.matches('{_UPWARDS.pattern}')", _RELATIVE)
_PATH_PATTERN = re.compile(r"[^/:\s][^:\n\r]*")


def _path(name: str, description: str) -> Text:
    return Text(
        name,
        description,
        longest=LONGEST_PATH,
        pattern=_PATH_PATTERN,
        message=_RELATIVE,
        rules=(INSIDE,),
    )


PART = object_name("", "The name of a ConfigMap.", "ConfigMap")
NOT_EMPTY = Rule("self.size() > 0", "write at least one name")
CONFIG_MAPS = list_of(
    "configMaps",
    "ConfigMaps of the namespace that hold the parts of one tar archive, compressed with gzip or "
    f"xz, in this order; each has its part in binaryData.part. At most {MOST_PARTS}. They may be "
    "created after the job.",
    PART,
    at_most=MOST_PARTS,
    rules=(NOT_EMPTY,),
)
PATH = _path("", "A folder of the code.")
PATHS = list_of(
    "paths",
    "Folders of the code that are put on PYTHONPATH, in this order, such as src. Defaults to the "
    "code's own folder.",
    PATH,
    at_most=MOST_PATHS,
)
URL = Text(
    "url",
    "The repository's URL, http, https or ssh, without a password.",
    required="write the URL of a repository",
    longest=LONGEST_URL,
    pattern=re.compile(
        r"https?://[^/@\s]+/\S+|ssh://([^/@:\s]+@)?[^/@\s]+/\S+"
        r"|[-.\w]+@[-.\w]+:[^\s-]\S*"
    ),
    message="write an http, https or ssh URL without a password, which belongs into "
    "the Secret secretName",
)
COMMIT = Text(
    "commit",
    "The full hash of a commit.",
    required="write the full hash of a commit",
    longest=64,
    pattern=re.compile("[0-9a-f]{40}|[0-9a-f]{64}"),
    message="write the full hash of a commit, 40 or 64 hexadecimal digits: a branch "
    "or a tag may mean other code at the next attempt",
)


@dataclass(frozen=True, slots=True)
class Git:
    """One commit of a repository."""

    url: str = field(metadata=required(URL, ""))
    commit: str = field(metadata=required(COMMIT, ""))
    secret_name: str = row(
        object_name(
            "secretName",
            "A Secret of type kubernetes.io/basic-auth, or of type kubernetes.io/ssh-auth with "
            "ssh-privatekey and known_hosts.",
            "Secret",
        ),
        "",
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """A folder of a volume."""

    claim_name: str = field(
        metadata=required(
            object_name(
                "claimName",
                "The name of the PersistentVolumeClaim; all pods mount it read-only.",
                "PersistentVolumeClaim",
                required=True,
            ),
            "",
        )
    )
    sub_path: str = row(
        _path("subPath", "The folder of the volume that has the code. Defaults to its root."), ""
    )


GIT = Record("git", "A commit of a git repository; needs git in the images.", shapes_of(Git))
CLAIM = Record("persistentVolumeClaim", "A folder of a volume that has the code.", shapes_of(Claim))
IMAGE = Text(
    "image",
    "An image, or OCI artifact, that has the code; needs a cluster with image volumes.",
    longest=LONGEST_IMAGE,
    pattern=re.compile(r"\S+"),
    message="write the reference of an image",
)


@dataclass(frozen=True, slots=True)
class Code:
    """Where the code of a job comes from; one source is set."""

    config_maps: tuple[str, ...] = ()
    git: Git | None = None
    claim: Claim | None = None
    image: str = ""
    #: Folders of the code, for PYTHONPATH.
    paths: tuple[str, ...] = DEFAULT_PATHS

    @property
    def is_mounted(self) -> bool:
        """Whether a volume has the code as it is, so that no pod has to prepare it."""
        return bool(self.claim or self.image)

    @property
    def python_path(self) -> tuple[str, ...]:
        """The folders in the pods."""
        return tuple(
            names.CODE_PATH if path.strip("/") == "." else f"{names.CODE_PATH}/{path.strip('/')}"
            for path in self.paths
        )


_SOURCES = (CONFIG_MAPS.name, GIT.name, CLAIM.name, IMAGE.name)
EXACTLY_ONE_SOURCE = Rule(
    f"[{', '.join(f'has(self.{name})' for name in _SOURCES)}].filter(given, given).size() == 1",
    f"write exactly one of {', '.join(_SOURCES[:-1])} and {_SOURCES[-1]}",
)
CODE = Record(
    "code",
    f"Code that every pod of the job has at {names.CODE_PATH}, from one of four sources. Without "
    "a working directory of its own, the runner starts there.",
    (CONFIG_MAPS, GIT, CLAIM, IMAGE, PATHS),
    rules=(EXACTLY_ONE_SOURCE,),
)


def read_code(spec: Reader) -> Code | None:
    """Return where a job's code comes from; ``None``: it has none."""
    code = CODE.read(spec)
    if not code.given:
        return None
    if sum(code.has(name) for name in _SOURCES) != 1:
        code.mistake("", sorted(code.fields), EXACTLY_ONE_SOURCE.message)
    if code.fields.get(CONFIG_MAPS.name) == []:
        code.mistake(CONFIG_MAPS.name, [], NOT_EMPTY.message)
    return Code(
        config_maps=read_texts(CONFIG_MAPS, code, PART),
        git=_read_part(GIT, Git, code),
        claim=_read_claim(code),
        image=IMAGE.read(code),
        paths=_read_paths(PATHS, code) or DEFAULT_PATHS,
    )


def _read_part(shape: Record, kind: Callable[..., T], code: Reader) -> T | None:
    if not code.has(shape.name):
        return None
    return kind(**read_fields(kind, shape.read(code)))  # type: ignore[arg-type]


def _read_claim(code: Reader) -> Claim | None:
    claim = _read_part(CLAIM, Claim, code)
    if claim and _UPWARDS.search(claim.sub_path):
        code.mistake(f"{CLAIM.name}.subPath", claim.sub_path, INSIDE.message)
    return claim


def _read_paths(shape: Many, code: Reader) -> tuple[str, ...]:
    found = []
    for key, path in read_numbered(shape, code, PATH):
        if _UPWARDS.search(path):
            code.mistake(key, path, INSIDE.message)
        found.append(path)
    return tuple(found)
