"""What to do after the API server's response to the creation of a job. No I/O."""

from __future__ import annotations

from daskjob.core.errors import CreateRejected, DaskJobError, Invalid, NotFound, RejectionKind
from daskjob.kube.errors import AlreadyExists, NoSuchResource, OutcomeUnknown
from daskjob.kube.namespaces import in_words_of_namespaces
from daskjob.submit.client.errors import NotInstalled
from daskjob.submit.client.mistakes import RejectedByServer
from daskjob.submit.submission import Step


def after_create(error: DaskJobError) -> Step:
    """Return the next step after a creation without success, or raise.

    Raises
    ------
    Invalid
        The API server rejects the manifest.
    NotInstalled
        The API server does not know DaskJobs.
    DaskJobError
        The error itself, if no further request can help.
    """
    if isinstance(error, AlreadyExists):
        return Step.LOOK
    if isinstance(error, OutcomeUnknown):
        return Step.REPEAT
    if isinstance(error, NoSuchResource):
        raise NotInstalled() from None
    if isinstance(error, CreateRejected) and error.kind is RejectionKind.INVALID:
        raise Invalid(error.name, [RejectedByServer(error.message)]) from error
    raise in_words_of_namespaces(error) if isinstance(error, NotFound) else error
