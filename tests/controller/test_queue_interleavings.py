"""Random operations in any order: never two passes over a key, and no change is lost."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from daskjob.controller.queue import CHANGED_WAIT_SECONDS, WorkQueue
from tests.controller.properties import STORIES

KEYS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS, st.sampled_from([0.0, 0.25, 5.0])),
        st.tuples(st.just("take"), KEYS),
        st.tuples(st.just("done"), KEYS),
        st.tuples(st.just("done later"), KEYS, st.sampled_from([-1.0, 0.0, 0.5, 3.0, 1000.0])),
        st.tuples(st.just("fail"), KEYS, st.booleans()),
        st.tuples(st.just("put back"), KEYS),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.05, 0.5, 1.0, 5.0, 60.0])),
        st.tuples(st.just("hurry")),
    ),
    max_size=60,
)


class Model:
    """A simple model of the queue, with its invariants."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue: WorkQueue[str] = WorkQueue(lambda: self.now, jitter=lambda: 1.0)
        self.taken: set[str] = set()
        #: Keys with a change and no pass that began after it.
        self.unseen: set[str] = set()
        #: Within how many seconds each must get a pass: from the change, or from the end of the
        #: pass during which it came.
        self.within: dict[str, float] = {}
        self.since: dict[str, float] = {}
        #: When each key is due, by its last finished pass.
        self.wanted: dict[str, float] = {}
        self.failed_at: dict[str, float] = {}
        self.taken_at: dict[str, list[float]] = defaultdict(list)

    def step(self, what: str, *arguments: object) -> None:
        getattr(self, what.replace(" ", "_"))(*arguments)
        assert self.queue.depth + len(self.taken) <= len(self.queue)

    def add(self, key: str, within: float) -> None:
        self.queue.add(key, within)
        self.unseen.add(key)
        self.within[key] = min(self.within.get(key, within), within)
        self.since[key] = self.now

    def take(self, _key: str = "") -> str | None:
        key = self.queue.take()
        if key is None:
            return None
        assert key not in self.taken, f"two passes over {key} at once"
        if key in self.failed_at:
            assert self.now >= self.failed_at[key] + 1.0, f"{key} was tried twice in a second"
        self.taken.add(key)
        self.unseen.discard(key)
        self.within.pop(key, None)
        self.wanted.pop(key, None)
        self.taken_at[key].append(self.now)
        return key

    def done(self, key: str) -> None:
        if key in self.taken:
            self.taken.discard(key)
            self.since[key] = self.now
            self.failed_at.pop(key, None)
            self.queue.done(key)

    def done_later(self, key: str, wake_in: float) -> None:
        if key in self.taken:
            self.taken.discard(key)
            self.failed_at.pop(key, None)
            self.queue.done(key, wake_in)
            self.since[key] = self.now
            self.wanted[key] = self.now + wake_in

    def fail(self, key: str, retryable: bool) -> None:
        if key in self.taken:
            self.taken.discard(key)
            wait = self.queue.failed(key, retryable=retryable)
            self.since[key] = self.now
            self.failed_at[key] = self.now
            self.wanted[key] = self.now + wait

    def put_back(self, key: str) -> None:
        if key in self.taken:
            self.taken.discard(key)
            self.queue.put_back(key)
            self.since[key] = self.now
            self.wanted[key] = self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def hurry(self) -> None:
        self.queue.hurry()

    def settle(self) -> None:
        """Finish every pass, advance time as the queue requires, and check that none is missing."""
        for key in sorted(self.taken):
            self.done(key)
        for key in sorted(self.unseen):
            seen = len(self.taken_at[key])
            wait = CHANGED_WAIT_SECONDS if key in self.failed_at else self.within.get(key, 0.0)
            self._run(max(self.now, self.since[key] + wait))
            assert len(self.taken_at[key]) > seen or key not in self.unseen, f"{key}: lost"
        for key, moment in sorted(self.wanted.items()):
            # Another second for a key that asks for an immediate pass every time.
            self._run(max(moment, self.now) + 1.0)
            assert key not in self.wanted, f"{key}: it is {self.now}, it was due at {moment}"
        self._run(self.now + 2000.0)
        assert len(self.queue) == 0, "keys that are not due again are left in the queue"

    def _run(self, until: float) -> None:
        """Make passes that all succeed, only at the times that the queue returns."""
        for _ in range(1000):
            while (key := self.take()) is not None:
                self.done(key)
            wait = self.queue.seconds_until_due()
            if wait is None or self.now + wait > until:
                self.now = max(self.now, until)
                return
            self.now += wait
        raise AssertionError("the queue never becomes idle")


@STORIES
@given(STEPS)
def test_no_key_is_taken_twice_at_once_and_no_change_is_lost(steps: list[tuple[str]]) -> None:
    model = Model()
    for step in steps:
        model.step(*step)
    model.settle()
