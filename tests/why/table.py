"""The table of ``docs/why.md``: the answers of a run, without what differs from run to run."""

from __future__ import annotations

import re
from collections.abc import Iterable

from daskjob.core.explain import Explanation
from tests.why.registry import HOST
from tests.why.world import Answers

#: What differs, and what the table has instead.
_DIFFERS = (
    (re.escape(HOST), "registry.example.com"),
    (r"\bt-why-[\w-]*[0-9a-f]{6}\b", "team"),
    (r"\bwhy-[0-9a-f]{6}\b", "cost-centers"),
    (r"why\.daskjob\.test/node=tainted", "dedicated=gpu"),
    (r"system:serviceaccount:team:operator", "system:serviceaccount:daskjob:daskjob"),
    (r"rpc error: code = \w+ desc = ", ""),
    (r'Back-off pulling image "[^"]+": ErrImagePull: ', ""),
    (r"-worker-[0-9a-f]{8,}", "-worker-7d36b62fdd"),
    (r"(?<=task )(\w+)-[0-9a-f-]{32,}", r"\1-1962f0f8"),
    (r"tcp://\d+\.\d+\.\d+\.\d+:\d+", "tcp://10.0.0.7:40331"),
    (r", restarted (once|\d+ times)", ""),
    (r"\b(for|after|submitted) \d+(m\d+)? ?s\b", r"\1 30 s"),
    (r" since it was submitted 30 s ago", ""),
    (r"DeadlineSeconds \(\d+ s\)", "DeadlineSeconds (600 s)"),
    # How many nodes there are, and why the others do not fit.
    (r"0/\d+ nodes", "0/3 nodes"),
    (r"\b\d+ (?=(Insufficient|node\(s\)))", "3 "),
    (r"(Insufficient \w+), 3 node\(s\) had untolerated taint\(s\)", r"\1"),
    # Which object is created first, and how a worker's end is noticed.
    (r"forbidden-(runner|scheduler)", "forbidden-runner"),
    (r"exceeded (its|the) memory limit [^.<]+", "exceeded its memory limit of 300 MiB"),
    # Versions of the images of tests, which change with the locked dependencies.
    (r"\b(client|scheduler): \d{4}[\w.]+", r"\1: 2026.1.0"),
)


#: Evidence that the table has; how much else there is differs.
_EVIDENCE = ("NetworkPolicy ", "the runner has ", "versions of ")


def why_table(answers: Iterable[Answers]) -> str:
    """Return the table as Markdown."""
    rows = ["| cause | `daskjob why` prints | what to do |", "|---|---|---|"]
    rows += [_row(one) for one in answers]
    return "\n".join(rows) + "\n"


def _row(answers: Answers) -> str:
    case = answers.case
    chosen = answers.failed if case.shows_end else answers.waiting or answers.failed
    assert chosen is not None, case.name
    cells = (case.cause, _printed(chosen), _to_do(chosen))
    return f"| {' | '.join(cells)} |"


def _printed(answer: Explanation) -> str:
    shown = [line for line in answer.evidence if line.startswith(_EVIDENCE)]
    lines = [_plain(answer.headline), *map(_plain, shown)]
    return "<br>".join(_text(line) for line in lines)


def _to_do(answer: Explanation) -> str:
    command = f"<br>`{_plain(answer.command).replace('|', chr(92) + '|')}`"
    return _text(_plain(answer.next_step)) + (command if answer.command else "")


def _plain(text: str) -> str:
    for pattern, instead in _DIFFERS:
        text = re.sub(pattern, instead, text)
    return text.strip()


def _text(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([\\|*_<>\[\]{}`])", r"\\\1", text)
