"""What lists of settings contain: mounts, secrets, tolerations, files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from daskjob.core.names import CODE_PATH, FILES_PATH

#: Kubernetes' names of objects.
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
OBJECT_NAME_RULE = "a name of lower-case letters, digits, '-' and '.'"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VARIABLE_RULE = "a variable's name of letters, digits and '_', not starting with a digit"
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
#: Kubernetes' names of labels, annotations, taints and extended resources.
QUALIFIED = re.compile(
    r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?",
    re.ASCII,
)
LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
#: How other places of code begin than a folder of this machine.
_CODE_ELSEWHERE = ("git+", "pvc:", "image:")


class Source(StrEnum):
    """What is mounted."""

    PVC = "pvc"
    SECRET = "secret"
    CONFIG_MAP = "configmap"


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume at a path of all containers."""

    source: Source
    name: str
    path: str
    read_only: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.name}:{self.path}" + (":ro" if self.read_only else "")


def mount(text: str) -> Mount:
    """Return the mount of ``pvc:CLAIM:/path[:ro]``, ``secret:…`` or ``configmap:…``."""
    source, _, rest = text.partition(":")
    name, _, place = rest.partition(":")
    path, _, mode = place.partition(":")
    if source.lower() not in list(Source):
        known = ", ".join(f"{item}:NAME:/path" for item in Source)
        raise ValueError(f"write one of {known}")
    kind = Source(source.lower())
    if not OBJECT_NAME.fullmatch(name):
        raise ValueError(f"write {kind}:NAME:/path with {OBJECT_NAME_RULE}")
    if not path.startswith("/") or ".." in PurePosixPath(path).parts or path.strip("/") == "":
        raise ValueError(f"write an absolute path in the containers: {kind}:{name}:/data")
    if path.rstrip("/") in (FILES_PATH, CODE_PATH, "/tmp", "/dev", "/proc", "/sys"):
        raise ValueError(f"{path} is in use already; write another path")
    if mode not in ("", "ro", "rw"):
        raise ValueError(f"write {kind}:{name}:{path}:ro, or leave out {':' + mode!r}")
    if mode == "rw" and kind is not Source.PVC:
        raise ValueError(f"a {kind} is read-only; leave out ':rw'")
    return Mount(kind, name, path.rstrip("/"), mode == "ro" or kind is not Source.PVC)


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A Secret as variables: all its keys, or one of them."""

    name: str
    #: Empty: all keys, each as the variable of its name.
    key: str = ""
    variable: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.key}={self.variable}" if self.key else self.name


def secret_use(text: str) -> SecretUse:
    """Return the use of ``NAME``, ``NAME:KEY`` or ``NAME:KEY=ENV``."""
    name, colon, rest = text.partition(":")
    key, _, variable = rest.partition("=")
    if not OBJECT_NAME.fullmatch(name):
        raise ValueError(f"write NAME[:KEY=ENV]; a Secret has {OBJECT_NAME_RULE}")
    if not colon:
        return SecretUse(name)
    if not _KEY.fullmatch(key):
        raise ValueError(f"write a key of the Secret: {name}:KEY=ENV")
    if not VARIABLE.fullmatch(variable or key):
        example = re.sub(r"\W", "_", key, flags=re.ASCII).upper().lstrip("0123456789")
        raise ValueError(f"write {VARIABLE_RULE}: {name}:{key}={example or 'NAME'}")
    return SecretUse(name, key, variable or key)


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint that the pods tolerate."""

    key: str
    #: ``None``: any value.
    value: str | None
    #: Empty: any effect.
    effect: str

    def __str__(self) -> str:
        value = f"={self.value}" if self.value is not None else ""
        return f"{self.key}{value}" + (f":{self.effect}" if self.effect else "")


_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def toleration(text: str) -> Toleration:
    """Return the toleration of ``KEY[=VALUE][:EFFECT]``, as ``kubectl taint`` writes a taint."""
    taint, _, effect = text.partition(":")
    key, sign, value = taint.partition("=")
    if not QUALIFIED.fullmatch(key) or (sign and not LABEL_VALUE.fullmatch(value)):
        raise ValueError("write KEY[=VALUE][:EFFECT], as kubectl taint does")
    known = {item.lower(): item for item in _EFFECTS}
    if effect and effect.lower() not in known:
        raise ValueError(f"write the effect as one of {', '.join(_EFFECTS)}, or leave it out")
    return Toleration(key, value if sign else None, known.get(effect.lower(), ""))


def object_name(text: str) -> str:
    """Return the name of an object of Kubernetes."""
    if not OBJECT_NAME.fullmatch(text):
        raise ValueError(f"write {OBJECT_NAME_RULE}")
    return text


def plain(text: str) -> str:
    """Return the text."""
    return text


def is_elsewhere(code: str) -> bool:
    """Return whether the setting ``code`` names another place than a folder of this machine."""
    return code.startswith(_CODE_ELSEWHERE)
