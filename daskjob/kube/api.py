"""Requests to the API server: timeouts, rate limiting, and error responses as daskjob exceptions.

Bodies are sent as JSON and returned as bytes: the caller knows how much of them to decode.
Repeatable requests are retried within their time budget. A create is not, unless it certainly did
not happen: only a caller that knows the object can find out whether it did.
"""

from __future__ import annotations

import asyncio
import io
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from types import TracebackType
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from daskjob import __version__
from daskjob.core.errors import ApiError, DaskJobError, Forbidden, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, object_ref
from daskjob.kube.access import Access, Credentials
from daskjob.kube.connector import Connector
from daskjob.kube.errors import (
    AlreadyExists,
    BadRequest,
    OutcomeUnknown,
    Throttled,
    Unanswered,
    Unreachable,
    error_of,
)
from daskjob.kube.limiter import Limiter
from daskjob.kube.patience import Patience
from daskjob.kube.requests import JSON_PATCH, MERGE_PATCH, Request
from daskjob.kube.resources import EVENTS, Selection

logger = logging.getLogger(__name__)

#: Per try. The server itself may queue a request for up to 15 s.
TRY_SECONDS = 15.0
#: All tries of one request, including the waits between them.
BUDGET_SECONDS = 30.0
CONNECT_SECONDS = 5.0
#: A larger body, such as a part of a job's code, is sent in pieces, and may take as long as at this
#: many bytes per second.
_LARGE_BODY = 256 * 1024
_SLOW_UPLOAD = 64 * 1024
#: Before the second try, by which time most servers have recovered. Later tries of any request are
#: at least a second apart.
FIRST_WAIT_SECONDS = 0.2
NEXT_WAIT_SECONDS = 1.0
#: Requests in flight, not counting Leases and watches; each watch has its own connection.
CONNECTIONS = 32
#: The server closes idle connections after 90 s; closing first avoids losing a request to that.
KEEP_ALIVE_SECONDS = 30.0

#: How long the end of a websocket may take to be confirmed.
WEBSOCKET_CLOSE_SECONDS = 2.0

#: Events of one pod. Repetitions are counted in one Event; few pods have ten.
WARNINGS_LIMIT = 50

#: Called after each request with Kubernetes' verb, kind, status code (0: no response) and seconds.
OnRequest = Callable[[str, str, int, float], None]
#: Called with its namespace right before a write is sent. If it raises, the write is not sent and
#: raises the same.
BeforeWrite = Callable[[str], None]


def _allow_all(_namespace: str) -> None:
    """Allow every write."""


class Api:
    """One API server. Open it with ``async with``; it keeps its connections until the end.

    A request may queue for a minute. ``before_write`` is called when a write leaves the queue, each
    time it is sent: what was true when the write was requested may no longer be.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        limiter: Limiter | None = None,
        on_request: OnRequest | None = None,
        before_write: BeforeWrite = _allow_all,
        try_seconds: float = TRY_SECONDS,
        budget_seconds: float = BUDGET_SECONDS,
        patience: Patience | None = None,
    ) -> None:
        self.credentials = credentials
        self.limiter = limiter or Limiter()
        self.before_write = before_write
        self._on_request = on_request
        self._try_seconds = try_seconds
        self._budget_seconds = budget_seconds
        self._patience = patience
        self._in_flight = asyncio.Semaphore(CONNECTIONS)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        self._session = aiohttp.ClientSession(
            connector=Connector(keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"daskjob/{__version__}"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, ref: ObjectRef, *, metadata_only: bool = False) -> bytes:
        """Return the object of this name, whatever its uid.

        Raises
        ------
        NotFound
            It does not exist.
        """
        return await self._ask(Request.about("get", ref, metadata_only=metadata_only))

    async def list_page(
        self, selection: Selection, *, limit: int, proceed: str = "", tries: int = 1
    ) -> bytes:
        """Return one page of a list.

        The first page is requested without a resourceVersion: it is as new as etcd, and never older
        than anything this server returned before.

        Raises
        ------
        Expired
            The continue token has expired: list from the start.
        """
        query = {"limit": str(limit)}
        if proceed:
            query["continue"] = proceed
        return await self._ask(replace(Request.over("list", selection, query), tries=tries))

    @asynccontextmanager
    async def watch(
        self, selection: Selection, version: int, *, idle_seconds: float, duration_seconds: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch from a resourceVersion, without retries; yields its lines as they arrive.

        The lines end when the server ends the watch, after ``duration_seconds`` or sooner. A
        truncated line is dropped.

        Raises
        ------
        Expired
            The version is too old: relist.
        ApiError
            The watch broke, or was silent for ``idle_seconds``, without even a bookmark.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": str(duration_seconds),
        }
        request = Request.over("watch", selection, query)
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        await self.limiter.turn()
        async with self._limited():
            with _losses(request):
                async with asyncio.timeout(self._try_seconds):
                    answer = await self._answer(request, timeout)
        async with answer:
            try:
                yield _lines(request, answer.content)
            finally:
                _break_off(answer)

    @asynccontextmanager
    async def log(
        self, pod: ObjectRef, query: Mapping[str, str], *, idle_seconds: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the log of a container, without retries; yields its bytes as they arrive.

        A log that is followed has no response before its first line: ``idle_seconds`` also limits
        the wait for that.

        Raises
        ------
        NotFound
            The pod does not exist.
        BadRequest
            The container has not started, or there is none of this name.
        ApiError
            The log broke off, or was silent for ``idle_seconds``.
        """
        request = replace(
            Request.about("get", pod, subresource="log"), query=query, subject=f"log of {pod}"
        )
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        await self.limiter.turn()
        with _losses(request):
            answer = await self._answer(request, timeout)
        async with answer:
            try:
                yield _chunks(request, answer.content)
            finally:
                _break_off(answer)

    async def websocket(
        self, request: Request, protocol: str
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """Open a websocket, without retries; pings are the caller's to send and to answer.

        Raises
        ------
        NotFound, Forbidden
            Its object does not exist; a permission is missing.
        ApiError
            There was no connection, or it did not become a websocket.
        """
        await self.limiter.turn()
        with _losses(request):
            async with asyncio.timeout(self._try_seconds):
                access = await self.credentials.access()
                try:
                    return await self._upgraded(request, protocol, access)
                except aiohttp.WSServerHandshakeError as error:
                    if error.status != 401:
                        raise
                renewed = await self.credentials.renew(access)
                return await self._upgraded(request, protocol, renewed)

    async def _upgraded(
        self, request: Request, protocol: str, access: Access
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        if self._session is None:
            raise RuntimeError("open the Api with 'async with' first")
        query = f"?{urlencode(request.query)}" if request.query else ""
        try:
            return await self._session.ws_connect(
                URL(access.server + request.path + query, encoded=True),
                protocols=(protocol,),
                headers=access.headers,
                ssl=access.tls,
                proxy=access.proxy,
                server_hostname=access.server_name,
                autoping=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=WEBSOCKET_CLOSE_SECONDS),
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 401:
                raise
            raise await self._reason_against(request, error.status) from error

    async def _reason_against(self, request: Request, code: int) -> DaskJobError:
        """Return the error of a websocket that the server answered with this status code.

        aiohttp drops the body, which has the server's reason: a plain request returns it. A server
        may forbid only the websocket, and then answers the plain request as one without a meaning.
        """
        message = f"{request.subject}: the server answered {code} to a websocket"
        try:
            async with await self._answer(request, aiohttp.ClientTimeout(total=CONNECT_SECONDS)):
                pass
        except BadRequest as error:
            return Forbidden(message) if code == 403 else error
        except DaskJobError as error:
            return error
        return Forbidden(message) if code == 403 else Unanswered(message)

    async def create(
        self, manifest: Manifest, *, metadata_only: bool = False, dry_run: bool = False
    ) -> bytes:
        """Create an object and return it; a dry run checks it in full, and stores nothing.

        Raises
        ------
        AlreadyExists
            The name is taken, by our object or another.
        CreateRejected
            The server rejects this object (``INVALID``, ``REJECTED`` or ``QUOTA``).
        NotFound
            Its namespace does not exist.
        OutcomeUnknown
            The request was sent and no response arrived: repeat it under the same name.
        """
        ref = object_ref(manifest)
        request = Request.about("create", ref, body=manifest, metadata_only=metadata_only)
        return await self._ask(replace(request, query={"dryRun": "All"} if dry_run else {}))

    async def emit(self, event: Manifest) -> bool:
        """Create an Event, without retries; return whether to try again. Errors are only logged."""
        request = Request.about("create", object_ref(event), body=event)
        try:
            await self._ask(replace(request, subject="an Event", tries=1))
        except (AlreadyExists, NotFound):
            # An earlier try succeeded, or the namespace is gone.
            return False
        except DaskJobError as error:
            logger.info("an Event was not emitted: %s", error)
            return True
        return False

    async def warnings(self, ref: ObjectRef, *, limit: int = WARNINGS_LIMIT) -> bytes:
        """Return the warning Events of the object of this uid, as a list; without retries."""
        about = f"involvedObject.uid={ref.uid},type=Warning"
        selection = Selection(EVENTS, ref.namespace, fields=about)
        request = Request.over("list", selection, {"limit": str(limit)})
        return await self._ask(replace(request, subject=f"Events of {ref}"))

    async def patch(self, ref: ObjectRef, body: Manifest, *, metadata_only: bool = False) -> bytes:
        """Merge a patch into the object of this uid, except its status, and return the object.

        A ``metadata.resourceVersion`` in the body is a precondition too.

        Raises
        ------
        NotFound, Conflict
            The object is gone; another one has its name, or it is newer than the body's version.
        """
        meta = {**(body.get("metadata") or {}), **({"uid": ref.uid} if ref.uid else {})}
        request = Request.about(
            "patch",
            ref,
            body={**body, "metadata": meta},
            content_type=MERGE_PATCH,
            metadata_only=metadata_only,
        )
        return await self._ask(request)

    async def replace(self, manifest: Manifest) -> bytes:
        """Replace an object if it still has this resourceVersion, and return it.

        Raises
        ------
        NotFound, Conflict
            The object is gone; it has changed.
        """
        return await self._ask(Request.about("update", object_ref(manifest), body=manifest))

    async def replace_status(self, ref: ObjectRef, status: Manifest) -> bytes:
        """Replace the whole status of the object of this uid, and return the object.

        As a JSON patch: a merge patch would keep fields that the new status no longer has. It also
        would not check the uid: in a status patch of a custom object the server ignores it (seen
        with 1.34), so an object recreated under the same name would get the final status of its
        predecessor.

        Raises
        ------
        NotFound, Conflict
            The object is gone; another one has its name.
        StatusRejected
            The server rejects the status.
        """
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": ref.uid},
            {"op": "add", "path": "/status", "value": status},
        ]
        request = Request.about(
            "patch", ref, subresource="status", body=operations, content_type=JSON_PATCH
        )
        return await self._ask(request)

    async def delete(
        self, ref: ObjectRef, *, grace_seconds: int | None = None, metadata_only: bool = False
    ) -> bytes:
        """Delete the object of this uid; its dependents are deleted in the background.

        Returns the terminating object, or a Status if it is gone at once.

        Raises
        ------
        NotFound, Conflict
            The object is already gone; another one has its name.
        """
        options: Manifest = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if ref.uid:
            options["preconditions"] = {"uid": ref.uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        request = Request.about("delete", ref, body=options, metadata_only=metadata_only)
        return await self._ask(request)

    async def send(self, request: Request) -> bytes:
        """Send a request about a kind that daskjob's own objects do not have; return the answer."""
        return await self._ask(request)

    async def _ask(self, request: Request) -> bytes:
        """Send a request until it is answered, its time is up, or a retry is pointless."""
        ends_at = 0.0
        tries = 0
        # Before the time starts to count: it may take a login.
        await self.credentials.access()
        while True:
            if request.in_line:
                await self.limiter.turn()
            now = time.monotonic()
            # Time in the queue does not count: it is not time spent waiting for the server.
            upload = _upload_seconds(request.body)
            ends_at = ends_at or now + self._budget_seconds + upload
            tries += 1
            try:
                return await self._try(request, min(self._try_seconds + upload, ends_at - now))
            except ApiError as error:
                wait = _wait_before_next(request, error, tries)
                if wait is None or time.monotonic() + wait >= ends_at:
                    raise
            await asyncio.sleep(wait)

    async def _try(self, request: Request, seconds: float) -> bytes:
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS)
        slot = self._in_flight if request.in_line else nullcontext()
        async with self._limited():
            with _losses(request):
                async with slot, asyncio.timeout(seconds):
                    answer = await self._answer(request, timeout)
                    async with answer:
                        return await answer.read()

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Limit an exchange with the server by the patience of the command, if there is one."""
        if self._patience is None:
            yield
            return
        access = await self.credentials.access()
        async with self._patience.limit(access.server):
            yield
        self._patience.answered()

    async def _answer(
        self, request: Request, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Return a successful response, or raise; renew the credentials once after a 401."""
        access = await self.credentials.access()
        answer = await self._sent(request, access, timeout)
        if answer.status == 401:
            if self._patience is not None:
                # The login that follows may take a while.
                self._patience.answered()
            answer.release()
            access = await self.credentials.renew(access)
            answer = await self._sent(request, access, timeout)
        if answer.status >= 300:
            async with answer:
                error = self._rejected(request, answer, await answer.read(), access)
            if self._patience is not None:
                if answer.status >= 500 and isinstance(error, Unanswered):
                    self._patience.failed(str(error))
                else:
                    self._patience.answered()
            raise error
        return answer

    async def _sent(
        self, request: Request, access: Access, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("open the Api with 'async with' first")
        if request.writes:
            self.before_write(request.namespace or "")
        query = f"?{urlencode(request.query)}" if request.query else ""
        started = time.monotonic()
        code = 0
        try:
            answer = await self._session.request(
                request.method,
                URL(access.server + request.path + query, encoded=True),
                data=_sendable(request.body),
                headers={**request.headers, **access.headers},
                ssl=access.tls,
                proxy=access.proxy,
                server_hostname=access.server_name,
                timeout=timeout,
                # A redirect would send the token to another host.
                allow_redirects=False,
            )
            code = answer.status
            return answer
        finally:
            if self._on_request is not None:
                kind = request.resource.kind
                self._on_request(request.verb, kind, code, time.monotonic() - started)

    def _rejected(
        self, request: Request, answer: aiohttp.ClientResponse, body: bytes, access: Access
    ) -> DaskJobError:
        error = error_of(
            request.subject,
            answer.status,
            body,
            answer.headers,
            creating=request.creating,
            of_status=request.of_status,
            fixed=access.fixed,
        )
        if isinstance(error, Throttled):
            self.limiter.rejected(error.retry_after or FIRST_WAIT_SECONDS)
        return error


def _wait_before_next(request: Request, error: ApiError, tries: int) -> float | None:
    """Return how long to wait before the same request is sent again; ``None``: do not retry.

    A request that certainly had no effect may always be repeated; the others only if idempotent.
    """
    backoff = FIRST_WAIT_SECONDS if tries == 1 else NEXT_WAIT_SECONDS * 2.0 ** (tries - 2)
    backoff *= random.uniform(1.0, 1.5)
    if tries >= request.tries:
        return None
    if isinstance(error, Throttled):
        return max(error.retry_after or 0.0, backoff)
    harmless = isinstance(error, Unreachable)
    return backoff if harmless or (request.repeatable and isinstance(error, Unanswered)) else None


def _break_off(answer: aiohttp.ClientResponse) -> None:
    """Abort the connection of a watch that was not read to its end.

    A graceful TLS shutdown waits for the peer; if the event loop ends meanwhile, the socket stays
    open.
    """
    connection = answer.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _sendable(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a body as aiohttp sends it: a large one in pieces, between those of other requests."""
    return io.BytesIO(body) if body and len(body) > _LARGE_BODY else body


def _upload_seconds(body: bytes | None) -> float:
    """Return how much longer a try may take that sends a large body."""
    size = len(body) if body else 0
    return size / _SLOW_UPLOAD if size > _LARGE_BODY else 0.0


async def _lines(request: Request, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield complete lines; not by ``readline``, which fails on lines over 64 KiB."""
    rest = b""
    with _losses(request):
        async for chunk in content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield line


async def _chunks(request: Request, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    with _losses(request):
        async for chunk in content.iter_any():
            yield chunk


@contextmanager
def _losses(request: Request) -> Iterator[None]:
    """Raise our own errors where no complete response arrives."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # A token with a control character is a ValueError.
        raise _lost(request, error) from error


def _lost(request: Request, error: Exception) -> ApiError:
    """Return the error for a request without a complete response."""
    message = f"{request.subject}: {_message(error)}"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Unreachable(message)
    return OutcomeUnknown(message) if request.creating else Unanswered(message)


def _message(error: Exception) -> str:
    """Return the message of an error; for an error without one, its name."""
    if isinstance(error, TimeoutError):
        return "the API server did not answer in time"
    return str(error) or type(error).__name__
