"""The format of the operator's log: one line for each record, with its object.

``full`` and ``plain`` are for people, ``json`` for programs. A record names its object by
``extra={"key": key}``; kopf's records, of users' plugins, by kopf's ``k8s_ref``. Every message
stays one line, and text that looks like a secret is masked.
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

#: The longest message: it may quote text of any length, and log storage costs money.
MESSAGE_LIMIT = 4096


class LogFormat(StrEnum):
    """The values of ``--log-format``, named as in kopf."""

    PLAIN = "plain"
    FULL = "full"
    JSON = "json"


_SECRETS = [
    # A bearer token or other credentials in a header.
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 ***"),
    # A JSON web token anywhere: every service account has one.
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
    """Return a text with likely secrets masked, in time linear in its length."""
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
    """Write all records from this level on; ``traces``: errors with tracebacks.

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
    # Their own messages help only to debug asyncio and the HTTP clients.
    for name in ("asyncio", "aiohttp", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """``2026-11-21T12:00:00.250Z INFO  DaskJob default/sums: Running``."""

    def __init__(self, *, plain: bool, traces: bool) -> None:
        super().__init__()
        self._plain = plain
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by its traceback if ``traces`` is set."""
        key = _object_of(record)
        text = _message(record)
        if key is not None:
            text = f"{_reference(key)}: {text}"
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
    """Return kopf's name of a level."""
    levels = [(logging.DEBUG, "debug"), (logging.INFO, "info"), (logging.WARNING, "warn")]
    return next((name for limit, name in levels if level <= limit), "error")


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        # A plugin's format string does not fit its arguments: log it all the same.
        text = str(record.msg)
    # Cut twice: a secret split by the first cut is beyond the second one.
    return cut(without_secrets(text[: 2 * MESSAGE_LIMIT]), MESSAGE_LIMIT)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return a traceback, or its last lines, which matter most."""
    text = formatter.formatException(record.exc_info) if record.exc_info else ""
    return without_secrets(text[-4 * MESSAGE_LIMIT :])


def _one_line(text: str) -> str:
    """Escape line breaks and terminal control characters: users choose the names of objects."""
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
        kept = ((field, reference.get(field)) for field in ("kind", "namespace", "name"))
        return {field: str(value) for field, value in kept if value}
    return None


def _reference(key: Mapping[str, str]) -> str:
    """Return the readable name of an object: ``DaskJob default/sums``."""
    where = "/".join(key[field] for field in ("namespace", "name") if field in key)
    return f"{key.get('kind', '')} {where}".strip()
