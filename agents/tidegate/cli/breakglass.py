"""``tidegate breakglass pause | rollback``: for when the decision agent is dead, wrong or in other hands (E5).

The document goes straight to the nodes. Neither ``decisions`` nor a running decision agent is needed, only the log; practise it,
so that it works on the day (Cloudflare, 2019-07-02: the kill switch was slow for want of practised access).
"""

import secrets
import time
from collections.abc import Iterable
from pathlib import Path

import click
from msgspec import Struct

from tidegate.cli.connect import run, unconfirmed
from tidegate.cli.keyring import Ring, counted, ring, signer_in
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.rollout_start import person
from tidegate.cli.words import ServiceType, reason_option
from tidegate.ports import LogReader, Record, SendUnknown
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, checked
from tidegate.wire.documents import BreakGlass, Desired, GlassAction, KeyRole
from tidegate.wire.envelope import Refused, Trust, seal, unseal
from tidegate.wire.names import service_subject

FOLDED_WITHIN_S = 3.0
POLL_S = 0.2

HELP = {
    GlassAction.PAUSE: "Let no node of SERVICE go forward. Nodes keep what they run; a retreat goes on.",
    GlassAction.ROLLBACK: "Send every node of SERVICE back to the rollback target of its plan.",
}


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a break-glass document. ``folded``: the phase that was decided because of it, empty where none was yet."""

    id: str
    subject: str
    action: GlassAction
    generation: int
    folded: str


@click.group()
def breakglass() -> None:
    """Pause or roll back a service past its decision agent, by a break-glass key.

    It beats every command that is not above the generation it names, and can install nothing.
    """


def _command(action: GlassAction) -> click.Command:
    @click.command(name=action.value, help=HELP[action])
    @click.argument("service", type=ServiceType())
    @reason_option("in the document and in the decision", required=True)
    @click.option(
        "--key", type=click.Path(path_type=Path, dir_okay=False), help="Break-glass key or .signer file. [default: the home's]"
    )
    @click.option(
        "--generation", type=click.IntRange(0, 1 << 53), help="Beat commands up to this one. [default: the newest there is]"
    )
    @format_option
    @click.pass_obj
    def command(home: Home, service: str, reason: str, key: Path | None, generation: int | None, form: Format) -> None:
        outcome = run(_send(home, action, service_subject(service), reason, key=key, generation=generation))
        if form != "table":
            dump(outcome, form)
            return
        click.echo(
            f"{action} of {service} beats every command up to generation {outcome.generation}; nodes obey it by themselves"
        )
        if outcome.folded:
            click.echo(f"the decision agent has folded it: {outcome.folded}")
        else:
            click.echo("no decision agent has folded it yet; what nodes run: tidegate fleet list")

    return command


async def _send(
    home: Home, action: GlassAction, subject: str, reason: str, *, key: Path | None, generation: int | None
) -> Outcome:
    async with ring(home, "breakglass") as opened:
        trust = opened.trust
        signer = counted(trust, KeyRole.BREAKGLASS, signer_in(key) if key is not None else home.signer(KeyRole.BREAKGLASS))
        reader = await opened.here.log.reader(["desired"])
        try:
            newest = _newest(await reader.read_to_end(), subject, trust)
            if generation is None and newest is None:
                what = f"no command for {subject} stands in the log"
                raise Problem(what, "check the name, or say up to which generation: --generation N")
            document = BreakGlass(
                id=f"glass-{secrets.token_hex(8)}",
                fleet=home.settings.fleet,
                subject=subject,
                root_version=trust.root_version,
                generation=generation if generation is not None else newest.generation if newest is not None else 0,
                action=action,
                actor=person() or "unknown",
                reason=reason,
                issued_ms=time.time_ns() // 1_000_000,
            )
            await _append(opened, document, seal(checked(document), signer))
            folded = await _folded(reader, document, trust)
        finally:
            await reader.close()
    return Outcome(id=document.id, subject=subject, action=action, generation=document.generation, folded=folded)


async def _append(opened: Ring, document: BreakGlass, envelope: bytes) -> None:
    try:
        await opened.here.log.append("desired", document.key, envelope)
    except SendUnknown as error:
        raise unconfirmed(
            error, "the broker did not confirm it; it may stand in the log", "type it again: twice is as good as once"
        ) from error


async def _folded(reader: LogReader, document: BreakGlass, trust: Trust) -> str:
    """Return the phase of the first command above the document's generation, empty where none comes in time."""
    deadline_s = time.monotonic() + FOLDED_WITHIN_S
    while time.monotonic() < deadline_s:
        newest = _newest(await reader.poll(POLL_S), document.subject, trust)
        if newest is not None and newest.generation > document.generation:
            return newest.phase
    return ""


def _newest(records: Iterable[Record], subject: str, trust: Trust) -> Desired | None:
    """Return the command of the greatest generation among records, of those that a decision key has signed."""
    found: Desired | None = None
    for record in records:
        if record.key != subject or record.value is None:
            continue
        try:
            document = unseal(record.value, Desired, trust)[0]
        except (Malformed, Refused):
            continue
        if found is None or document.generation > found.generation:
            found = document
    return found


for _action in GlassAction:
    breakglass.add_command(_command(_action))
