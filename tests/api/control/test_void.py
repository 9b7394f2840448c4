"""What a takeover makes void is no answer and no decision to whoever asks the API (E2, E3)."""

import asyncio

from tests.api.control.kit import Installation, quiet
from tests.model.test_void import lost_its_place


async def read(here: Installation, number: int) -> None:
    """Wait until so many decisions were read."""
    async with asyncio.timeout(20):
        while here.mirror.offsets.get("decisions/0", 0) < number:
            await here.mirror.wait("nothing", 0.02)


async def test_an_answer_that_is_voided_is_none_and_no_later_one_of_its_author_is_waited_for(world):
    log = lost_its_place()
    async with quiet(world) as here, here.serve():
        waiting = asyncio.ensure_future(here.mirror.wait("5.2", 20))
        for raw in log[:3]:
            await here.log.append("decisions", None, raw)
        answered = await here.mirror.wait("4.2", 20)
        assert answered is not None, "nobody knows yet that it is void"
        assert (await here.get("/requests/4.2")).status_code == 200
        for raw in log[3:]:
            await here.log.append("decisions", None, raw)
        assert (await waiting).decision.epoch == 5
        await read(here, len(log))
        assert [here.mirror.answer(name) is not None for name in ("4.1", "4.2", "4.3", "5.2")] == [True, False, False, True]
        assert (await here.get("/requests/4.2")).status_code == 404
        items = (await here.get("/timeline")).json()["items"]
        assert [(one["seq"], one["what"]) for one in items] == [(2, "takeover"), (1, "pause"), (0, "takeover")]
        told = (await here.get("/rollouts/shop/decisions")).json()["items"]
        assert [(one["seq"], one["epoch"]) for one in told] == [(1, 4)]


async def test_who_waits_is_not_answered_by_what_is_void_when_it_is_read(world):
    log = lost_its_place()
    log = [log[0], log[1], log[4], log[2], log[3]]
    async with quiet(world) as here, here.serve():
        for raw in log[:3]:
            await here.log.append("decisions", None, raw)
        waiting = asyncio.ensure_future(here.mirror.wait("4.2", 20))
        for raw in log[3:]:
            await here.log.append("decisions", None, raw)
        await read(here, len(log))
        assert not waiting.done()
        here.mirror.close()
        assert await waiting is None
