"""The text with which a script called ``sys.exit``: only its code shows that it is the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

from daskjob.core.diagnose import EXIT_LINE
from daskjob.core.manifests import mapping, mappings
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About

#: What a message has instead: the operator does not read the code of its users.
_UNKNOWN = re.compile(
    r"(?P<what>exited with code 1[^:]*: )(it called sys\.exit\(1\)|the last line of its output: ).*"
)


def with_exit_text(about: About, headline: str) -> str:
    """Return a headline with the text of ``sys.exit``, if the job's own files show it."""
    unknown = _UNKNOWN.search(headline)
    if about.reason != Reason.EXIT_CODE or unknown is None:
        return headline
    from daskjob.core.exit_text import exit_text

    for source in _sources(about):
        if text := exit_text(source, about.log_tail):
            before = headline[: unknown.end("what")]
            return f"{before}{EXIT_LINE}{' '.join(text.split())}."
    return headline


def _sources(about: About) -> Iterator[str]:
    """Yield the files of the job that its runner executes."""
    job = mapping(mapping(about.job.get("spec")).get("job"))
    files = mapping(job.get("files"))
    for container in mappings(mapping(job.get("spec")).get("containers")):
        for key in ("command", "args"):
            words = container.get(key)
            names = [str(word).rpartition("/")[2] for word in words] if words else []
            yield from (str(files[name]) for name in names if name in files)
