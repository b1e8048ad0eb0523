"""The connection: which credentials, whose they are, how long they last, and the clocks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import mapping, metadata, parse_time
from daskjob.core.quantity import duration
from daskjob.kube.bearer_token import expiry
from daskjob.kube.credentials import ServiceAccount
from daskjob.kube.kubeconfig_files import Unusable, selected
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.finding import Finding, failed, ok, skipped, warning

CONNECTION, CLOCK, TOKEN = "connection", "clock", "credentials"
#: Tokens and certificates are rejected by a clock that differs by minutes.
SKEW_SECONDS = 30.0
#: A command that follows a job needs its token for longer.
SOON_SECONDS = 900.0


async def connection(ground: Ground) -> AsyncIterator[Finding]:
    """Check that the API server answers, and knows the user."""
    try:
        access = await ground.credentials.access()
        asked_at = datetime.now(UTC)
        review = await ground.objects.review("authentication.k8s.io/v1", "SelfSubjectReview", {})
    except DaskJobError as error:
        yield failed(CONNECTION, str(error), _fix(error))
        return
    user = mapping(mapping(review.get("status")).get("userInfo")).get("username", "(unknown)")
    yield ok(CONNECTION, f"{access.server} as {user}, {_source(ground)}")
    yield token(access.headers.get("Authorization", ""), datetime.now(UTC))
    yield clock(parse_time(metadata(review).get("creationTimestamp")), asked_at)


def token(header: str, now: datetime) -> Finding:
    """Check how long a token is valid."""
    if not header.startswith("Bearer "):
        return ok(TOKEN, "a certificate" if not header else "a password")
    ends = expiry(header)
    if ends is None:
        return ok(TOKEN, "a token that does not show when it expires")
    left = ends - now.timestamp()
    text = f"a token, valid for {duration(timedelta(seconds=max(left, 0)))}"
    if left < SOON_SECONDS:
        return warning(TOKEN, text, "log in again before you follow long jobs")
    return ok(TOKEN, text)


def clock(server: datetime | None, here: datetime) -> Finding:
    """Compare the clocks of the API server and of this machine."""
    if server is None:
        return skipped(CLOCK, "the API server does not show its time")
    # The server's time has whole seconds.
    skew = (here - server).total_seconds()
    if abs(skew) <= SKEW_SECONDS:
        return ok(CLOCK, "this machine and the API server agree")
    side = "ahead of" if skew > 0 else "behind"
    by = duration(timedelta(seconds=abs(skew)))
    return warning(
        CLOCK,
        f"this machine is {by} {side} the API server: tokens and ages are wrong",
        "synchronize the clock, such as by timedatectl set-ntp true",
    )


def _source(ground: Ground) -> str:
    if isinstance(ground.credentials, ServiceAccount):
        return "with the service account of this pod"
    try:
        context = selected(None, ground.context or None).context
    except (Unusable, OSError):
        return ""
    return f"context {context.name} of {context.file}"


def _fix(error: DaskJobError) -> str:
    match type(error).__name__:
        case "NoCredentials":
            return "set KUBECONFIG, or name another context: kubectl config get-contexts"
        case "Unreachable" | "NoAnswer" | "Unhealthy" | "Unanswered" | "OutcomeUnknown":
            return "check the network, a VPN, and the server of the context: kubectl cluster-info"
    if "Unauthorized" in str(error):
        return "log in again, or name another context with --context"
    return "kubectl cluster-info shows whether kubectl can connect"
