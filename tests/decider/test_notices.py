"""Edges of the decision agent's alarms: told once, with their history, also across a succession (I1)."""

import asyncio

from tests.rollout.fleet import Fleet, plan

from tidegate.decider.notices import Notices
from tidegate.decider.timings import Timings
from tidegate.rollout.events import AlarmArrived
from tidegate.rollout.view import View, see
from tidegate.wire.codec import decode
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Alarm, AlarmState
from tidegate.world import MemoryLog, SimClock


def alarms(log: MemoryLog) -> list[Alarm]:
    return [decode(record.value or b"", Alarm) for record in log.topic("alarms")]


def seen(log: MemoryLog) -> View:
    view = View()
    for one in alarms(log):
        view = see(view, AlarmArrived(one))
    return view


async def test_a_rollback_that_happens_again_knows_the_one_before_also_after_a_succession() -> None:
    fleet, clock = Fleet(), SimClock()
    log = MemoryLog(clock)
    fleet.install()

    async def rolled_back(version: str, notices: Notices) -> None:
        fleet.submit(plan(version))
        fleet.until_stage(0)
        fleet.ask(Verb.ABORT)
        while fleet.state().phase is not Phase.DONE:
            await notices.alarms(fleet.ledger, fleet.view)
            fleet.turn()
        await notices.alarms(fleet.ledger, fleet.view)

    first = Notices(log, clock, Timings())
    first.begin(View())
    await rolled_back("2", first)
    successor = Notices(log, clock, Timings())
    successor.begin(seen(log))
    await rolled_back("3", successor)
    told = alarms(log)
    assert [one.state for one in told] == [AlarmState.FIRING, AlarmState.RESOLVED] * 2
    assert [one.episodes for one in told] == [1, 1, 2, 2]
    (before,) = told[-1].past
    assert (before.start_ms, before.end_ms) == (told[1].start_ms, told[1].end_ms)
    await asyncio.sleep(0)
