"""How the operator logs: one line for each event, with the object that it is about.

``full`` and ``plain`` are for people, ``json`` for programs. A record names its object by
``extra={"key": key}``; kopf's records, of users' plugins, by its own ``k8s_ref``. Whatever a
message holds, it stays one line, and what looks like a secret is left out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import TextIO

from daskjob.core.manifests import Key
from daskjob.core.messages import cut

#: No line is longer: messages may quote what others wrote, and each line is somebody's storage.
MESSAGE_LIMIT = 4096


class LogFormat(StrEnum):
    """The values of ``--log-format``; kopf's words."""

    PLAIN = "plain"
    FULL = "full"
    JSON = "json"


_SECRETS = [
    # A bearer token, or any other credentials of a header.
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 ***"),
    # A JSON web token, wherever it stands: every service account has one.
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), "***"),
    # token=..., "password": "...", DASKJOB_AGENT_TOKEN: ...
    (
        re.compile(
            r"""(?ix)
            ([\w-]{0,40}(?:token|password|passwd|secret|api[_-]?key|client-key-data)["']?\s*[=:]\s*)
            (?: "[^"]*" | '[^']*' | [^\s"',;&}]+ )
            """
        ),
        r"\1***",
    ),
    # A user's name and password in a URL.
    (re.compile(r"(://)[^\s/@:]{1,256}:[^\s/@]{1,4096}@"), r"\1***@"),
]


def without_secrets(text: str) -> str:
    """Return a text with what looks like a secret left out, in time that grows with its length."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def configure(
    *,
    level: int = logging.INFO,
    log_format: LogFormat = LogFormat.FULL,
    reference: str = "object",
    traces: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Have all records written, from this level on; ``traces``: errors with where they come from.

    ``reference`` is the name of the object's field in JSON (``--log-refkey``).
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonLines(reference))
    else:
        handler.setFormatter(TextLines(plain=log_format is LogFormat.PLAIN, traces=traces))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # What asyncio and the HTTP client tell of themselves is for whoever looks for a bug in them.
    for name in ("asyncio", "aiohttp", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """``2026-11-21T12:00:00.250Z INFO  DaskJob default/sums: Running``."""

    def __init__(self, *, plain: bool, traces: bool) -> None:
        super().__init__()
        self._plain = plain
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by a traceback where those are asked for."""
        key = _object_of(record)
        text = _message(record)
        if key is not None:
            text = f"{_words(key)}: {text}"
        text = _one_line(text)
        if not self._plain:
            text = f"{_moment(record)} {record.levelname:<7} {text}"
        if self._traces and record.exc_info:
            text += "\n" + _trace(self, record)
        return text


class JsonLines(logging.Formatter):
    """``{"message": "Running", "timestamp": …, "severity": "info", "object": {…}}``, as kopf's."""

    def __init__(self, reference: str) -> None:
        super().__init__()
        self._reference = reference

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object."""
        line: dict[str, object] = {
            "message": _message(record),
            "timestamp": _moment(record),
            "severity": _severity(record.levelno),
            "logger": record.name,
        }
        key = _object_of(record)
        if key is not None:
            line[self._reference] = key
        if record.exc_info:
            line["traceback"] = _trace(self, record)
        return json.dumps(line, ensure_ascii=False)


def _severity(level: int) -> str:
    """Return kopf's word for a level."""
    words = [(logging.DEBUG, "debug"), (logging.INFO, "info"), (logging.WARNING, "warn")]
    return next((word for limit, word in words if level <= limit), "error")


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        # A plugin's format does not fit its arguments: that must not cost the line.
        text = str(record.msg)
    # Cut twice: a secret that the first cut parts lies behind the second one.
    return cut(without_secrets(text[: 2 * MESSAGE_LIMIT]), MESSAGE_LIMIT)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return where an error comes from: its last lines, which say most."""
    text = formatter.formatException(record.exc_info) if record.exc_info else ""
    return without_secrets(text[-4 * MESSAGE_LIMIT :])


def _one_line(text: str) -> str:
    """Return a text without what ends a line or steers a terminal: names are users' to choose."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _moment(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _object_of(record: logging.LogRecord) -> Mapping[str, str] | None:
    key = getattr(record, "key", None)
    if isinstance(key, Key):
        return {"kind": key.kind, "namespace": key.namespace, "name": key.name}
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, Mapping):
        kept = ((word, reference.get(word)) for word in ("kind", "namespace", "name"))
        return {word: str(value) for word, value in kept if value}
    return None


def _words(key: Mapping[str, str]) -> str:
    """Return an object as people read it: ``DaskJob default/sums``."""
    where = "/".join(key[word] for word in ("namespace", "name") if word in key)
    return f"{key.get('kind', '')} {where}".strip()
