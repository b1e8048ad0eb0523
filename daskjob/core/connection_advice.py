"""What to do about errors of the connection to a cluster, for commands and for programs."""

from __future__ import annotations

_CHECK_CONNECTION = (
    "check the network, a VPN, and the context (kubectl config get-contexts); "
    "daskjob doctor -n NAMESPACE checks the connection"
)
_CHECK_HEALTH = (
    "try again later; daskjob doctor -n NAMESPACE checks the connection, and "
    "kubectl get --raw='/readyz?verbose' the API server"
)
#: By the names of errors of a connection: the classes need packages that may be missing.
_ADVICE = {
    "NoCredentials": "set KUBECONFIG, or name another context with --context "
    "(kubectl config get-contexts lists them)",
    "Unreachable": _CHECK_CONNECTION,
    "NoAnswer": _CHECK_CONNECTION,
    "Unhealthy": _CHECK_HEALTH,
    "Unanswered": _CHECK_HEALTH,
    "OutcomeUnknown": _CHECK_HEALTH,
    "UnexpectedObject": "the response is not from an API server: check the server of your "
    "kubeconfig, and whether a proxy in between wants a login",
    "NoSuchResource": "check the server of your kubeconfig: kubectl cluster-info",
    "OutOfTime": _CHECK_CONNECTION,
}


def advice(error: Exception, *, context: str = "--context") -> str:
    """Return what to do about an error of the connection; ``context`` is how to choose another."""
    found = _ADVICE.get(type(error).__name__)
    if found and "CERTIFICATE_VERIFY_FAILED" in str(error):
        found = (
            "the certificate of the server is not trusted: check the context's server and "
            "certificate-authority, and whether a proxy in between has a certificate of its own"
        )
    if str(error).endswith(": Unauthorized"):
        found = "log in again, or name another context with --context"
    if "set KUBECONFIG" in str(error):
        return ""
    return f"; {found}".replace("--context", context) if found else ""
