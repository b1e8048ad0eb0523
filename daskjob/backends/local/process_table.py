"""The system's process table, and which of a run's processes belongs to which id.

For the supervisor, which explains the marks: it imports little, and so does this module.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from collections.abc import Mapping

#: The environment variable that marks the processes of a run: `<run>/<id>`.
MARKER = "DASKJOB_PROCESS"
#: The owner of a process below the supervisor that belongs to no known id; no id is empty.
UNCLAIMED = ""


class Process:
    """One line of the system's process table."""

    __slots__ = ("alive", "marker", "parent", "pid", "session")

    def __init__(self, pid: int, parent: int, session: int, alive: bool) -> None:
        self.pid = pid
        self.parent = parent
        self.session = session
        self.alive = alive
        #: The value of its marker, where the process table already contains it (macOS).
        self.marker: bytes | None = None


class Claim:
    """The processes of an id: its main process, and the sessions that are its own."""

    __slots__ = ("found", "id", "pid", "sessions", "status")

    def __init__(self, name: str, pid: int) -> None:
        self.id = name
        self.pid = pid
        #: All sessions known to belong to this id; the main process's session has its pid.
        self.sessions = {pid}
        #: Once the main process has ended: what was left of it at the last look.
        self.found: set[int] = set()
        #: The wait status of the main process, once it has ended.
        self.status: int | None = None


def owners(run: str, claims: Mapping[str, Claim], *, keeps_orphans: bool) -> dict[int, str]:
    """Return the id of every process of a run; UNCLAIMED if only the run is known.

    ``claims`` are the run's ids; sessions that their processes created are added to them. Callers
    kill by this result. So where the caller is the subreaper (``keeps_orphans``), a process that is
    not below it is never ours, whatever its session or marker.

    A process that is ending shows no environment any more. What was left of an id still is.
    """
    table = process_table()
    ended = [c for c in claims.values() if keeps_orphans and c.status is not None]
    left = {pid: claim.id for claim in ended for pid in claim.found}
    running = {claim.pid: claim.id for claim in claims.values() if claim.status is None}
    sessions = {session: claim.id for claim in claims.values() for session in claim.sessions}
    # None: not of this run. Everything below the caller is.
    owner: dict[int, str | None] = {os.getpid(): UNCLAIMED}
    for start in table:
        chain: list[int] = []
        pid = start
        while pid in table and pid not in owner:
            owner[pid] = None
            chain.append(pid)
            pid = table[pid].parent
        inherited = owner.get(pid)
        for pid in reversed(chain):
            if inherited is not None or not keeps_orphans:
                process = table[pid]
                found = running.get(pid) or sessions.get(process.session) or inherited
                inherited = owner[pid] = found or marked(process, run) or left.get(pid) or found
    learn_sessions(claims, table, owner)
    del owner[os.getpid()]
    for claim in ended:
        claim.found = {pid for pid, found in owner.items() if found == claim.id}
    # A zombie below us counts until we have reaped it: after a reported end no trace is left.
    # Elsewhere init reaps it.
    return {
        pid: found
        for pid, found in owner.items()
        if found is not None and (keeps_orphans or table[pid].alive)
    }


def learn_sessions(
    claims: Mapping[str, Claim], table: dict[int, Process], owner: dict[int, str | None]
) -> None:
    """Record the sessions that an id's processes created, to recognize their later forks.

    A session is theirs if its leader is, or if the leader is gone. No other session may be
    learned: a process of ours in a foreign session must not make that session's processes
    ours. Sessions 0 and 1 are the system's: kernel threads, and processes that init or a
    container runtime started without a new session.
    """
    for pid, found in owner.items():
        session = table[pid].session if pid in table else 0
        if found and session > 1 and owner.get(session, found) == found:
            claim = claims.get(found)
            if claim is not None:
                claim.sessions.add(session)


def marked(process: Process, run: str) -> str | None:
    """Return the id in a process's marker, if the marker names this run."""
    marker = process.marker if process.marker is not None else marker_in_proc(process.pid)
    found, _, name = (marker or b"").decode("utf-8", "surrogateescape").partition("/")
    return (name or None) if found == run else None


def process_table() -> dict[int, Process]:
    """Return all visible processes."""
    return table_from_proc() if os.path.isdir("/proc/self") else table_from_ps(*ps())


def table_from_proc() -> dict[int, Process]:
    """Read Linux' process table; processes that end meanwhile may be missing."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                stat = file.read()
        except OSError:
            continue  # it has ended
        # The name, in parentheses, may itself contain anything.
        fields = stat[stat.rindex(b")") + 2 :].split()
        # A zombie with threads is a process whose main thread has ended: it is alive.
        alive = fields[0] not in b"ZXx" or int(fields[17]) > 1
        table[int(name)] = Process(int(name), int(fields[1]), int(fields[3]), alive)
    return table


def marker_in_proc(pid: int) -> bytes | None:
    """Return the marker in a process's initial environment; None: none, or unreadable."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return None
    name = MARKER.encode() + b"="
    for variable in environment.split(b"\0"):
        if variable.startswith(name):
            return variable[len(name) :]
    return None


def ps() -> tuple[bytes, int]:
    """Return the process table with environments from macOS' ps, and the pid of that ps."""
    import subprocess  # only where there is no /proc: it is a slow import

    try:
        with subprocess.Popen(
            ["/bin/ps", "-axEww", "-o", "pid=,ppid=,stat=,command="],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C"},
        ) as process:
            return process.communicate()[0], process.pid
    except OSError:
        return b"", 0


def table_from_ps(output: bytes, ps_pid: int) -> dict[int, Process]:
    """Parse `pid ppid stat command and environment`, one process per line, except ps itself.

    A marker in the arguments looks like one in the environment, but runs have random names.
    """
    table = {}
    for line in output.splitlines():
        fields = line.split(None, 3)
        if len(fields) < 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            continue
        pid = int(fields[0])
        if pid == ps_pid:
            continue
        try:
            session = os.getsid(pid)
        except OSError:
            continue  # it has ended; without a session it must not seem to share one
        process = Process(pid, int(fields[1]), session, not fields[2].startswith(b"Z"))
        _, marked, rest = (fields[3] if len(fields) > 3 else b"").partition(
            b" " + MARKER.encode() + b"="
        )
        process.marker = rest.split(None, 1)[0] if marked and rest.strip() else b""
        table[pid] = process
    return table
