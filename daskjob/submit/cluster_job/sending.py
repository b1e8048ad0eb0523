"""What ``submit`` needs of a client of Kubernetes."""

from __future__ import annotations

from typing import Protocol

from daskjob.submit.cluster_job.submission import Submission
from daskjob.submit.jobs import JobRef


class Send(Protocol):
    """Sends a submission to the API server of its ``context``, exactly once for its ``token``."""

    def __call__(self, submission: Submission) -> JobRef:
        """Create the job, then the Secret of its variables, owned by it; return its reference.

        The context is in ``submission.merged.settings``. The manifest has its token, and the name
        that follows from it; without a token it is another job than any before.
        """
        ...
