"""Each verb on a job of this machine and on one of a cluster, from one table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daskjob.submit.cli import _COMMANDS
from tests.cli.command import Daskjob, Done
from tests.cli.in_process import call
from tests.cli.test_on_cluster import SMALL, operator
from tests.cluster.plugin import Kubernetes
from tests.printed import QUIET
from tests.waiting import wait_until

#: Commands that start something, or are not about jobs; ``dashboard`` needs a running job.
OTHERS = {
    *("run", "submit", "cluster", "dashboard"),
    *("validate", "render", "init", "install", "doctor", "completion", "version"),
}
#: Prints, computes, and fails with an exception.
FAILS = f"""\
{QUIET}
import os
from distributed import Client

with Client() as client:
    print("attempt", os.environ["DASKJOB_ATTEMPT"], flush=True)
    print("the sum is", client.submit(sum, range(100)).result(), flush=True)
raise LookupError("no such customer")
"""

Words = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """What a command does with a job that has failed at its second attempt."""

    #: ``{name}`` is the job.
    words: Words
    #: What it prints, as a pattern.
    printed: str
    code: int = 0


#: In the order of a user who looks at a job, changes it, and deletes it.
TABLE = (
    Row(("list",), r"(?m)^{name} +Failed +BackoffLimitExceeded "),
    Row(("list", "-o", "name"), r"^daskjob/{name}$"),
    Row(("status", "{name}"), r"(?s)Status: +Failed\n.*Exit code: +1\n.*Attempts:\n  0: .*\n  1: "),
    Row(("status", "--watch", "{name}"), r"NAME +STATUS.*\n{name} +Failed +"),
    Row(("status", "-o", "json", "{name}"), r'"exitCode": 1'),
    Row(("logs", "{name}"), r"(?s)^attempt 1\nthe sum is 4950\n.*LookupError: no such customer\n$"),
    Row(("logs", "--attempt", "0", "{name}"), r"^attempt 0\n"),
    Row(("logs", "--tail", "1", "{name}"), r"^LookupError: no such customer\n$"),
    Row(("logs", "--grep", "sum is", "{name}"), r"^the sum is 4950\n$"),
    Row(("logs", "--grep", "nothing like it", "{name}"), r"^$", code=1),
    Row(("wait", "{name}"), r"^{name} has ended: Failed\n$", code=1),
    Row(("attach", "{name}"), r"(?s)the sum is 4950\n.*LookupError", code=1),
    Row(("events", "{name}"), r"(?s)^AGE +TYPE +REASON +MESSAGE\n.*Started"),
    Row(("why", "{name}"), r"(?s)LookupError: no such customer.*\nNext: "),
    Row(("why", "-o", "json", "{name}"), r'"headline": '),
    Row(("report", "{name}"), r"(?s)^{name}: Failed in .*Tasks: +1 of 1 done"),
    Row(("report", "--html", "-", "{name}"), r"(?s)<h1>{name}</h1>.*LookupError"),
    Row(("diff", "{name}", "--attempts", "0", "1"), r"attempt 0 → .*attempt 1"),
    Row(("cancel", "{name}"), r"^{name} has already ended: Failed\n$"),
    Row(("suspend", "{name}"), r"has ended and ", code=125),
    Row(("resume", "{name}"), r"has ended and ", code=125),
    Row(("scale", "-w", "2", "{name}"), r"has ended and ", code=125),
    Row(("retry", "{name}"), r"^{name} runs again as \S+"),
    Row(("delete", "{name}"), r"^{name} deleted"),
    Row(("status", "{name}"), r"{name}", code=125),
)


def check(name: str, done: Callable[[Words], Done]) -> str:
    """Return the rows whose command did something else."""
    wrong = []
    for row in TABLE:
        words = tuple(word.format(name=name) for word in row.words)
        found = done(words)
        text = found.text if row.code in (0, 1) else found.err
        pattern = row.printed.replace("{name}", re.escape(name))
        if found.code != row.code or not re.search(pattern, text):
            wrong.append(f"{' '.join(words)}: {found.code}\n{found.text}{found.err}")
    return "\n".join(wrong)


def test_every_verb_has_a_row() -> None:
    assert {row.words[0] for row in TABLE} == set(_COMMANDS) - OTHERS


def test_verbs_on_this_machine(daskjob: Daskjob) -> None:
    script = daskjob.script(FAILS, "fails.py")
    assert daskjob("run", "-w", 1, "--retries", 1, "--name", "broken", script).code == 1
    assert check("broken", lambda words: call(words, daskjob.environment)) == ""
    # The new job, which runs in the background.
    assert call(("wait", "--timeout", "60s"), daskjob.environment).code == 1
    wait_until(lambda: not daskjob.left_over(), shows=daskjob.left_over)


async def test_verbs_on_a_cluster(
    daskjob: Daskjob, with_crds: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    daskjob.variables["KUBECONFIG"] = str(with_crds.kubeconfig)
    script = daskjob.script(FAILS, "fails.py")
    words = ("-n", namespace, *SMALL, "--retries", 1, "--image", with_crds.image("dask"))
    async with operator(with_crds, namespace, tmp_path):
        run = asyncio.to_thread(daskjob, "submit", "--wait", *words, script, timeout=180)
        assert (await run).code == 1
        there = ("-n", namespace)
        listed = await asyncio.to_thread(call, ("list", *there, "-o", "name"), daskjob.environment)
        name = listed.text.strip().removeprefix("daskjob/")

        def done(words: Words) -> Done:
            words = (words[0], *there, *words[1:])
            # What handles signals needs a main thread.
            return daskjob(*words) if "attach" in words else call(words, daskjob.environment)

        assert await asyncio.to_thread(check, name, done) == ""
