"""Many intents at once: so many of them are under way and no more, and each is heard of as it is answered."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

from tidegate.cli.rollout_start import ANSWER_WITHIN_S
from tidegate.cli.session import Exit, Session
from tidegate.model import Told
from tidegate.ports import Appended, SendUnknown
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import checked
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Intent
from tidegate.wire.envelope import Signs, seal

UNDER_WAY_MAX = 50
"""As many as the decision agent answers in a turn, so that it never waits for this side, and a kill for one turn at most."""


async def ask_all(here: Session, signer: Signs, intents: Iterator[Intent], hear: Callable[[Intent, Decision], None]) -> None:
    """Sign and send intents in their order, each taken when its turn has come; ``hear`` each with the decision that answers it.

    Problem where none of those under way is answered within 30 s, or one is too large: some are then under way, others not taken.
    A send without the broker's answer stays under way, since it may stand in the log.
    """
    under_way: dict[str, Intent] = {}

    def heard(news: list[Told]) -> bool:
        answers = [one.decision for one in news if one.decision.answers in under_way]
        for decision in answers:
            hear(under_way.pop(decision.answers), decision)
        return bool(answers)

    while True:
        turn = list(islice(intents, UNDER_WAY_MAX - len(under_way)))
        under_way |= {one.id: one for one in turn}
        await _append(here, signer, turn)
        if not under_way:
            return
        if not await here.follow(heard, ANSWER_WITHIN_S):
            raise Problem(
                f"no answer from the decision agent within {ANSWER_WITHIN_S:g} s; {len(under_way)} intents are under way and may "
                "still be answered when it runs",
                "see whether it runs (tidegate up, or tidegate decide), then import the file again: what stands is left alone",
                code=Exit.TIMEOUT,
            )


async def _append(here: Session, signer: Signs, turn: list[Intent]) -> None:
    sends = (here.log.append("intents", one.subject, seal(checked(one), signer)) for one in turn)
    for one, outcome in zip(turn, await asyncio.gather(*sends, return_exceptions=True), strict=True):
        match outcome:
            case Appended() | SendUnknown():
                continue
            case ValueError():
                raise Problem(f"{one.subject}: {outcome}", "make it smaller", code=Exit.USAGE) from outcome
            case BaseException():
                raise outcome
