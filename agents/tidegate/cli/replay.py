"""``tidegate replay``: what was decided, derived again from what was read for it."""

import click

from tidegate.cli.connect import run
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.session import Exit, session
from tidegate.decider.recorded import TOPICS, Recorded
from tidegate.ports import Log, Record
from tidegate.replay.decisions import Replayed, Said
from tidegate.replay.decisions import replay as replay_decisions
from tidegate.runtime.home import Home
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Desired
from tidegate.wire.envelope import Refused, Trust, unseal
from tidegate.wire.flags import topic_key
from tidegate.wire.flagstamps import HEADER, order_of
from tidegate.wire.names import service_of


@click.group()
def replay() -> None:
    """Fold what was recorded again, and hold it against what was written."""


@replay.command()
@format_option
@click.pass_obj
def decisions(home: Home, form: Format) -> int:
    """Verify the chain of decisions and derive each again from what had been read for it, byte for byte.

    Deriving needs the version of tidegate that wrote them. Where inputs are no longer kept, only the chain speaks for a record.

    \b
    Exit codes: 0 every record that can be derived is what was written, 1 some are not, or some are missing.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    done = run(_replayed(home))
    if form != "table":
        dump(done, form)
    else:
        click.echo("\n".join(_lines(done)))
    return Exit.FAILED if done.found else Exit.OK


async def _replayed(home: Home) -> Replayed:
    async with session(home, topics=("keys",)) as here:
        # What was decided is read last: it must cover every question and command that was read before.
        said = await _read(here.log, (*TOPICS, "flags"))
        decided = await _read(here.log, ("decisions",))
        levels, flags = _levels(said, here.model.trust), _flags(said, here.model.trust)
    raws = [(record.offset, record.value or b"") for record in decided]
    return replay_decisions(raws, Recorded(said, home.trust), home.trust.fleet, levels, flags)


async def _read(log: Log, topics: tuple[str, ...]) -> list[Record]:
    reader = await log.reader(topics)
    try:
        return await reader.read_to_end()
    finally:
        await reader.close()


def _levels(records: list[Record], trust: Trust) -> dict[str, Desired]:
    found: dict[str, Desired] = {}
    for record in records:
        if record.topic != "desired" or record.value is None or service_of(record.key or "") is None:
            continue
        try:
            level = unseal(record.value, Desired, trust)[0]
        except (Malformed, Refused):
            continue
        before = found.get(level.subject)
        if before is None or level.order > before.order:
            found[level.subject] = level
    return found


def _flags(records: list[Record], trust: Trust) -> dict[str, Said]:
    found: dict[str, Said] = {}
    for record in records:
        if record.topic != "flags":
            continue
        try:
            key = topic_key(record.key or "")
            order = order_of(key, record.value, record.headers.get(HEADER), trust)
        except (Malformed, Refused):
            continue
        before = found.get(key.subject)
        if before is None or order > before.order:
            found[key.subject] = Said(order, record.value)
    return found


def _lines(done: Replayed) -> list[str]:
    found = [f"{done.records} decisions: {done.derived} derived again, byte for byte; {done.takeovers} takeovers"]
    if done.unchecked:
        found.append(f"  {done.unchecked} not derived: what they were made of is not kept any more; the chain speaks for them")
    if done.void:
        found.append(f"  {done.void} more are void: their authors had lost their place")
    if done.different:
        found.append(f"  {done.different} are not what follows:")
    return found + [f"  offset {one.offset}: {one.problem}" for one in done.found]
