"""The creation of a job by a program that has no event loop: one request.

The packages for all other requests take longer to import than a whole submission. So this request
has no retries, and anything but a clear response is left to them: they repeat the creation under
the same name, as after any creation of unknown outcome.
"""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

from daskjob import __version__
from daskjob.core.manifests import ObjectRef
from daskjob.core.names import Kind
from daskjob.kube.access import Access
from daskjob.kube.patience import Patience
from daskjob.kube.resources import JOBS
from daskjob.submit.jobs import JobRef
from daskjob.submit.submission import Step, Submission

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
_JSON = "application/json"
#: Responses after which a repetition may succeed.
_UNCLEAR = frozenset({401, 408, 429})


def create_at_once(
    access: Access, wanted: Submission, patience: Patience | None = None
) -> JobRef | Step:
    """Create the job of a submission, or return the next step.

    Raises
    ------
    Invalid, Forbidden, NotFound, NotInstalled, CreateRejected
        As ``submitted``.
    NoAnswer, Unhealthy, OutOfTime
        The server has not answered in the time that its patience allows.
    """
    if access.proxy:
        return Step.REPEAT
    try:
        code, body = _posted(access, wanted, patience)
        if patience is not None and code < 500:
            patience.answered()
        if code == 201:
            return _reference(wanted, body)
    except (OSError, http.client.HTTPException, ValueError, TypeError, LookupError, RecursionError):
        return Step.REPEAT
    if code == 409:
        return Step.LOOK
    if 400 <= code < 500 and code not in _UNCLEAR:
        _reject(wanted, code, body)
    return Step.REPEAT


def _posted(access: Access, wanted: Submission, patience: Patience | None) -> tuple[int, bytes]:
    url = urlsplit(access.server)
    headers = {
        "Accept": _JSON,
        "Content-Type": _JSON,
        "User-Agent": f"daskjob/{__version__}",
        **access.headers,
    }
    body = json.dumps(wanted.manifest, allow_nan=False).encode()
    connection = _connection(url, access)
    try:
        connection.timeout = _at_most(CONNECT_SECONDS, access, patience)
        connection.connect()
        connection.sock.settimeout(_at_most(ANSWER_SECONDS, access, patience))
        connection.request("POST", url.path + JOBS.path(wanted.namespace), body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _at_most(seconds: float, access: Access, patience: Patience | None) -> float:
    left = None if patience is None else patience.left(access.server)
    return seconds if left is None else min(seconds, left)


def _connection(url: SplitResult, access: Access) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme != "https":
        return http.client.HTTPConnection(host, url.port, timeout=CONNECT_SECONDS)
    tls = access.tls if isinstance(access.tls, ssl.SSLContext) else ssl.create_default_context()
    return _Encrypted(host, url.port, tls, access.server_name or host)


class _Encrypted(http.client.HTTPConnection):
    """A connection by TLS to a server whose certificate may have another name than its URL."""

    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port, timeout=CONNECT_SECONDS)
        self._tls = tls
        self._name = name

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _reference(wanted: Submission, body: bytes) -> JobRef:
    meta: dict[str, Any] = json.loads(body)["metadata"]
    if meta["name"] != wanted.name or not meta["uid"]:
        raise ValueError("the response is about another object")
    return JobRef(str(meta["name"]), str(meta["namespace"]), str(meta["uid"]))


def _reject(wanted: Submission, code: int, body: bytes) -> None:
    from daskjob.kube.errors import error_of
    from daskjob.submit.client.creation import after_create

    subject = str(ObjectRef(Kind.JOB, wanted.namespace, wanted.name))
    after_create(error_of(subject, code, body, creating=True))
