"""What is tried after a Service does not answer: a forward, then the Service for longer."""

from __future__ import annotations

import pytest

from daskjob.core.errors import DaskJobError, Forbidden
from daskjob.kubecluster.errors import LocalPortTaken, NoConnection
from daskjob.kubecluster.reach import PATIENCE, Patience
from daskjob.kubecluster.ways import Way, Wishes, _direct_or_forwarded

pytestmark = [pytest.mark.check(28), pytest.mark.check(31)]
WAY = Way("tcp://10.0.0.1:8786", "10.0.0.1", 8787, "/status")
LOCAL = Way("tcp://localhost:8786", "localhost", 8787, "/status")


async def tried(
    answers: list[Way | str], forwarded: Way | DaskJobError
) -> tuple[Way, list[Patience]]:
    patiences: list[Patience] = []

    async def find(patience: Patience) -> Way | str:
        patiences.append(patience)
        return answers[len(patiences) - 1]

    async def forward() -> Way:
        if isinstance(forwarded, DaskJobError):
            raise forwarded
        return forwarded

    wishes = Wishes(timeout=40)
    return await _direct_or_forwarded(find, forward, wishes, lambda _: None), patiences


async def test_ports_are_forwarded_only_if_the_service_does_not_answer() -> None:
    assert await tried([WAY], Forbidden("never asked")) == (WAY, [PATIENCE])
    assert await tried(["port 8786 refuses"], LOCAL) == (LOCAL, [PATIENCE])


async def test_a_service_gets_all_the_time_if_ports_may_not_be_forwarded() -> None:
    found, patiences = await tried(["port 8786 refuses", WAY], Forbidden("no rights"))
    assert found == WAY
    assert patiences == [PATIENCE, Patience(PATIENCE.silent, 40)]


@pytest.mark.parametrize("reason", [Forbidden("no rights"), NoConnection("no pod in 60 s")])
async def test_an_error_has_both_reasons(reason: DaskJobError) -> None:
    with pytest.raises(NoConnection) as caught:
        await tried(["port 8786 refuses", "port 8786 still refuses"], reason)
    assert "refuses; and forwarding ports instead failed: no" in str(caught.value)
    assert caught.value.__cause__ is reason


async def test_a_local_port_in_use_stays_that_error() -> None:
    with pytest.raises(LocalPortTaken):
        await tried(["port 8786 refuses"], LocalPortTaken("port 8786 is in use"))
