"""Whatever a scheduler, the API server or a Lease answers: jobs end, and the operator stays up.

The passes, the election and every decoder are the real ones; the objects are a fake's. What is
drawn are the bytes of answers: often nonsense, often nearly right, with any numbers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from daskjob.backends.agent_answers import NoAnswer, usable_report
from daskjob.backends.kubernetes.asking.agents import decoded_answer
from daskjob.backends.kubernetes.watching.items import ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import WATCHED
from daskjob.backends.rejections import counted
from daskjob.controller.lease import LeaseHolder
from daskjob.controller.passes import Passes
from daskjob.core import names
from daskjob.core.dask import dask_state
from daskjob.core.decision import Patch
from daskjob.core.errors import CreateRejected, DaskJobError, StatusRejected
from daskjob.core.manifests import Key, Manifest, ObjectRef, object_ref
from daskjob.core.observed import CollectedReport
from daskjob.core.pods import PodFacts
from daskjob.core.status import JobStatusWord
from daskjob.kube.decoding import read_line, read_object, read_page
from daskjob.kube.errors import error_of
from daskjob.kube.leases import Leases
from tests.controller import virtual_time
from tests.controller.properties import STORIES
from tests.controller.worlds import ScriptedWorld
from tests.core import manifests

KEY = Key(names.Kind.JOB, "default", "sums")

# What is answered.

NUMBERS = st.one_of(
    st.integers(),
    st.integers(-2, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**31, 2**63, 2**64, 10**30, 10**400, 253402300799, -62135596801, 1e308]),
)
MOMENTS = st.one_of(NUMBERS, st.sampled_from([253402300799, 253402300000, 0, 1767268800]))
TIMES = st.sampled_from(
    ["", "now", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "2026-01-01T12:00:00Z", "²"]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TIMES, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def fields(*required: str, **of: st.SearchStrategy[Any]) -> st.SearchStrategy[Manifest]:
    """Mappings with these fields, each now and then of another kind, or absent."""
    mixed = {name: st.one_of(strategy, VALUES) for name, strategy in of.items()}
    always = {name: mixed.pop(name) for name in required}
    return st.fixed_dictionaries(always, optional=mixed)


STATES = fields(
    tasks=fields(total=NUMBERS, done=NUMBERS, processing=NUMBERS, waiting=NUMBERS, erred=NUMBERS),
    lastTransition=MOMENTS,
    idleSince=MOMENTS,
    clients=NUMBERS,
    target=st.dictionaries(st.sampled_from(["default", "sums-default", "x"]), NUMBERS),
    workers=fields(
        total=NUMBERS,
        columns=st.lists(st.sampled_from(["name", "address", "memory", "processing", "status"])),
        rows=st.lists(st.lists(VALUES, max_size=5), max_size=3),
    ),
)
REPORTS = fields(tasks=VALUES, workers=VALUES, seconds=NUMBERS)
METADATA = fields(
    name=st.text(max_size=5),
    uid=st.text(max_size=5),
    resourceVersion=st.sampled_from(["1", "²", "9" * 5000, "-1", ""]),
    creationTimestamp=TIMES,
    ownerReferences=st.lists(fields(uid=st.text(max_size=5), controller=st.booleans())),
    labels=st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
    deletionGracePeriodSeconds=NUMBERS,
)
OBJECTS = fields(metadata=METADATA, spec=VALUES, status=VALUES)
ERRORS = fields(
    code=NUMBERS,
    reason=st.sampled_from(["Invalid", "Forbidden", "Conflict", "AlreadyExists"]),
    message=st.text(max_size=20),
    details=fields(name=st.text(max_size=5), retryAfterSeconds=NUMBERS),
)
LEASES = fields(
    "metadata",
    metadata=fields(name=st.text(max_size=5), resourceVersion=st.sampled_from(["1", "2", "²"])),
    spec=fields(
        holderIdentity=st.sampled_from(["", "another"]),
        leaseDurationSeconds=NUMBERS,
        leaseTransitions=NUMBERS,
        acquireTime=TIMES,
    ),
)


def answers_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Bytes: of these values, cut off, in another encoding, too deep, or of anything else."""
    texts = values.map(json.dumps)
    return st.one_of(
        texts.map(str.encode),
        values.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-16")),
        st.tuples(texts, st.integers(0, 20)).map(lambda pair: pair[0].encode()[: -pair[1]]),
        texts.map(lambda text: b'{"\xe9": ' + text.encode() + b"}"),
        st.sampled_from([b"", b"<html>502</html>", b"[" * 50_000, b"1" * 5000, b'{"a": NaN}']),
        st.binary(max_size=20),
    )


CODES = st.sampled_from([400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 503, 504])
FAULTS = st.lists(st.tuples(CODES, answers_of(ERRORS)), max_size=30)


# The world that answers.


class AnyAnswers(ScriptedWorld):
    """A world whose writes meet errors, and whose schedulers answer what is drawn."""

    def __init__(self, faults: Sequence[tuple[int, bytes]], reports: Sequence[bytes]) -> None:
        super().__init__()
        self._faults = iter(faults)
        self._reports = iter(reports)

    def fault(
        self, ref: ObjectRef, *, creating: bool = False, of_status: bool = False
    ) -> DaskJobError | None:
        """Return the error that the next write meets; ``None``: it succeeds."""
        code, body = next(self._faults, (0, b""))
        if not code:
            return None
        return error_of(str(ref), code, body, creating=creating, of_status=of_status)

    async def create(self, owner: Key, manifest: Manifest) -> None:
        ref = object_ref(manifest)
        error = self.fault(ref, creating=True)
        if isinstance(error, CreateRejected):
            where = (ref.namespace, f"{ref.kind}/{ref.name}")
            self.rejections[where] = counted(self.rejections.get(where), error, self.now)
        if error is not None:
            raise error
        await super().create(owner, manifest)

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        error = self.fault(ref, of_status=True)
        if isinstance(error, StatusRejected):
            before = self.status_rejections.get(ref.uid)
            self.status_rejections[ref.uid] = counted(before, error, self.now)
        if error is not None:
            raise error
        await super().write_status(ref, status)

    async def patch(self, patch: Patch) -> None:
        if (error := self.fault(patch.ref)) is not None:
            raise error
        await super().patch(patch)

    async def delete(self, ref: ObjectRef) -> None:
        if (error := self.fault(ref)) is not None:
            raise error
        await super().delete(ref)

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        del job
        try:
            report = usable_report(decoded_answer(200, next(self._reports, b"")))
        except NoAnswer:
            report = None
        self.reports[scheduler.ref.uid] = CollectedReport(report)
        self.changed()

    def answer(self, data: bytes) -> None:
        """Have every scheduler answer these bytes."""
        for item in self.store.all():
            if item["kind"] != names.Kind.CLUSTER:
                continue
            uid = object_ref(item).uid
            try:
                self.answered(uid, dask_state(decoded_answer(200, data)))
            except NoAnswer:
                self.not_answered(uid)
        self.changed()

    def says_of_pods(self, at: str) -> None:
        """Have the API server report this time for all that happens to pods."""
        for pod in self.pods():
            status = dict(pod.get("status") or {})
            for condition in status.get("conditions") or ():
                condition["lastTransitionTime"] = at
            self.store.write_status(object_ref(pod), {**status, "startTime": at})


class AnyBytes:
    """An API server that answers any bytes to a request for a Lease."""

    def __init__(self, answers: Iterator[bytes]) -> None:
        self._answers = answers

    async def get(self, ref: ObjectRef) -> bytes:
        del ref
        return self._next()

    async def create(self, manifest: Manifest) -> bytes:
        return self._next() or json.dumps(_at_a_version(manifest)).encode()

    async def replace(self, manifest: Manifest) -> bytes:
        return self._next() or json.dumps(_at_a_version(manifest)).encode()

    def _next(self) -> bytes:
        return next(self._answers, b"")


def _at_a_version(manifest: Manifest) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": "7"}}


async def lived(
    world: AnyAnswers, answers: Sequence[bytes], at: str, end: Callable[[], None]
) -> None:
    """Run a job that meets these answers, then let it end; it must, within two hours."""
    passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
    world.subscribe(passes.wake)
    life = asyncio.create_task(passes.run())
    world.submit(
        manifests.job(
            stallDeadlineSeconds=60,
            stallAction="Fail",
            progressIntervalSeconds=10,
            backoffLimit=0,
        )
    )
    for data in (*answers, b""):
        await asyncio.sleep(5)
        world.start_all()
        world.says_of_pods(at)
        world.answer(data)
    end()
    for _ in range(120):
        await asyncio.sleep(60)
        world.kubelet()
        world.start_all()
        if world.job_status(KEY).finished:
            break
        end()
    assert not life.done(), "the passes have ended"
    assert world.job_status(KEY).finished
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)


@STORIES
@given(st.lists(answers_of(STATES), max_size=6), st.lists(answers_of(REPORTS)), FAULTS, TIMES)
@example([b'{"lastTransition": 253402300799}'], [], [], "")
@example([b'{"tasks": {"total": 1' + b"0" * 400 + b"}}"], [], [], "")
@example([], [b'{"a": 1' + b"0" * 400 + b"}"], [], "")
@example([], [b'{"a": "\xe9"}'], [(503, b'{"message": "\xe9"}')], "9999-12-31T23:59:59Z")
def test_every_job_ends_with_its_runner_whatever_is_answered(
    answers: list[bytes], reports: list[bytes], faults: list[tuple[int, bytes]], at: str
) -> None:
    world = AnyAnswers(faults, reports)

    def end() -> None:
        for pod in world.pods(names.Component.RUNNER):
            if (pod.get("status") or {}).get("phase") == "Running":
                world.exit(pod, 0)

    virtual_time.run(lived(world, answers, at, end))


@STORIES
@given(st.lists(answers_of(STATES), max_size=6), st.lists(answers_of(REPORTS)), FAULTS, TIMES)
@example([b'{"lastTransition": 253402300799}'], [], [], "")
@example([b'{"tasks": {"total": 1' + b"0" * 400 + b"}}"], [], [], "")
@example([], [b'{"a": 1' + b"0" * 400 + b"}"], [], "")
@example([], [b'{"a": "\xe9"}'], [(503, b'{"message": "\xe9"}')], "9999-12-31T23:59:59Z")
def test_every_job_can_be_cancelled_whatever_is_answered(
    answers: list[bytes], reports: list[bytes], faults: list[tuple[int, bytes]], at: str
) -> None:
    world = AnyAnswers(faults, reports)

    def cancel() -> None:
        world.edit(KEY, cancel=True)

    virtual_time.run(lived(world, answers, at, cancel))
    assert world.job_status(KEY).job_status is JobStatusWord.FAILED


@STORIES
@given(st.lists(answers_of(LEASES), max_size=6))
def test_an_operator_whose_lease_answers_anything_goes_on(answers: list[bytes]) -> None:
    async def story() -> None:
        leases = Leases(AnyBytes(iter(answers)))  # type: ignore[arg-type]
        holder = LeaseHolder(leases, "default", "me", clock=virtual_time.clock)
        task = asyncio.create_task(_lead(holder))
        await asyncio.sleep(600)
        assert not task.done(), "the operator has ended"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_time.run(story())


async def _lead(holder: LeaseHolder) -> None:
    while True:
        await holder.acquire()
        await holder.keep()


def lines_of(objects: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    types = st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "ODD"])
    return st.fixed_dictionaries({"type": types, "object": objects})


@STORIES
@given(
    answers_of(st.one_of(OBJECTS, lines_of(OBJECTS), lines_of(ERRORS), fields(items=VALUES))),
    CODES,
    st.text(max_size=5),
)
def test_every_answer_of_the_api_server_is_an_object_or_an_error_of_ours(
    data: bytes, code: int, header: str
) -> None:
    decoders: list[Callable[[bytes], object]] = [
        read_object,
        read_line,
        lambda found: read_page(found, "pods"),
        lambda found: error_of("x", code, found, {"Retry-After": header}, creating=True),
    ]
    for watched in WATCHED:
        decoder = ItemDecoder(watched)
        decoders += [decoder.item, decoder.page, decoder.change]
    for decode in decoders:
        try:
            decode(data)
        except DaskJobError:
            continue
