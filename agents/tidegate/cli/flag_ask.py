"""``tidegate flag kill | restore | share | pause | ...``: signed intents about a flag, each answered by a record."""

import secrets
import time
from collections.abc import Callable
from typing import Any

import click
from msgspec import Struct

from tidegate.cli.connect import run
from tidegate.cli.flag_tell import gets
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.rollout_explain import row
from tidegate.cli.rollout_start import ANSWER_WITHIN_S, person
from tidegate.cli.session import Exit, Session, session
from tidegate.cli.tell import line
from tidegate.cli.words import reason_option
from tidegate.model import Told, asked
from tidegate.model.asked import Asker, Wish
from tidegate.rollout.flag_answers import ANY_GENERATION
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.ramp import PERCENT
from tidegate.runtime.home import Home
from tidegate.wire.codec import Malformed, checked
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, KeyRole, Verb
from tidegate.wire.envelope import Signs, seal
from tidegate.wire.flags import TopicKey
from tidegate.wire.flagstates import flag_key

HELP = {
    Verb.KILL: "Give everyone the kill variant, now, whatever the rules say.",
    Verb.RESTORE: "Bring back what was there before a kill or a switch-off.",
    Verb.PAUSE: "Stop the ramp where it is; judgement and switch-off go on.",
    Verb.RESUME: "Go on with a paused ramp, its stage anew.",
    Verb.PROMOTE: "End the bake or answer the gate of this stage; never overrules a fail.",
    Verb.ABORT: "End the change: what was there before it is for everyone again.",
    Verb.ARCHIVE: "Give everyone the safe variant for good. The name is never used again.",
}


class FlagType(click.ParamType):
    """``SET/FLAG``, as a key. ``beside``: what a set has beside its flags may be named too."""

    name = "SET/FLAG"

    def __init__(self, *, beside: bool = False) -> None:
        self._beside = beside

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> TopicKey:
        """Return the key."""
        if isinstance(value, TopicKey):
            return value
        try:
            key = flag_key(str(value))
        except Malformed:
            self.fail(f"{str(value)[:200]!r} is no flag; name it as in web/dark", param, ctx)
        if not key.is_flag and not self._beside:
            self.fail(f"{key} is no flag; it can be set and shown, nothing else", param, ctx)
        return key


class ShareType(click.ParamType):
    """A percentage with at most two decimals, as a weight of 10,000."""

    name = "PERCENT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the weight."""
        if isinstance(value, int):
            return value
        try:
            weight = round(float(str(value).removesuffix("%")) * PERCENT, 6)
        except ValueError:
            weight = -1.0
        if not (0 <= weight <= 100 * PERCENT and weight == int(weight)):
            self.fail(f"{value!r} is no share; give 0 to 100 percent, as in 25 or 0.5%", param, ctx)
        return int(weight)


flag_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument("flag", type=FlagType(), metavar="SET/FLAG")


class Answer(Struct, frozen=True, kw_only=True):
    """The record that answers, and what it makes of the flag."""

    key: TopicKey
    told: Told
    answered_ms: int
    """From the moment before the intent was sent to that when its answer was read, by this machine's clock."""
    gets: str
    """What users get now; empty where there is no such flag."""

    @property
    def refused(self) -> bool:
        """Whether nothing changes."""
        return self.told.decision.kind is DecisionKind.REFUSE

    def plain(self) -> dict[str, object]:
        """Return it for programs."""
        said = row(self.told.at_ms, self.told.decision)
        return {"flag": str(self.key), **said, "answered_ms": self.answered_ms, "gets": self.gets}


def intent_of(ledger: Ledger, fleet: str, key: TopicKey, wish: Wish) -> Intent:
    """Return what is to be signed; it names the generation that the ledger has (D3), which kill, pause and abort do not need."""
    by, now_ms = Asker(fleet, person()), time.time_ns() // 1_000_000
    return asked.intent_of(ledger, key.subject, wish, by, unique=secrets.token_hex(8), now_ms=now_ms)


async def send(here: Session, signer: Signs, intent: Intent) -> Answer:
    """Sign and send an intent; return what answers it. Problem where nothing does in time."""
    began_s = time.monotonic()
    told = await here.ask("intents", intent.subject, seal(checked(intent), signer), intent.id, within_s=ANSWER_WITHIN_S)
    took_ms = round((time.monotonic() - began_s) * 1_000)
    state = here.model.ledger.flags.get(intent.subject)
    return Answer(key=flag_key(intent.subject), told=told, answered_ms=took_ms, gets=gets(state) if state is not None else "")


def ask(home: Home, key: TopicKey, wish: Wish, form: Format) -> int:
    """Send one intent and print what answers it; exit code 1 where it is a refusal."""
    return print_answer(run(_ask(home, key, wish)), form)


async def _ask(home: Home, key: TopicKey, wish: Wish) -> Answer:
    signer = home.signer(KeyRole.OPERATOR)
    # A kill waits for nothing: what was decided so far is read when it has been sent.
    urgent = wish.verb in ANY_GENERATION
    async with session(home, topics=("decisions",), caught_up=not urgent) as here:
        return await send(here, signer, intent_of(here.model.ledger, home.settings.fleet, key, wish))


def print_answer(answer: Answer, form: Format) -> int:
    """Print a decision, what users get by it, and how long that took; return the exit code."""
    if form != "table":
        dump(answer.plain(), form)
    else:
        click.echo(line(answer.told))
        if answer.gets:
            click.echo(f"  now {answer.gets}; answered after {answer.answered_ms} ms")
    return Exit.FAILED if answer.refused else Exit.OK


def _command(verb: Verb, help_: str) -> click.Command:
    @click.command(name=verb.value, help=help_)
    @flag_argument
    @reason_option(required=True)
    @format_option
    @click.pass_obj
    def command(home: Home, flag: TopicKey, reason: str, form: Format) -> int:
        return ask(home, flag, Wish(verb=verb, reason=reason), form)

    return command


@click.command()
@flag_argument
@click.argument("weight", type=ShareType(), metavar="PERCENT")
@reason_option(required=True)
@format_option
@click.pass_obj
def share(home: Home, flag: TopicKey, weight: int, reason: str, form: Format) -> int:
    """Lower the share to PERCENT at once, or bring it back to what its stages have given. More comes by stages only."""
    return ask(home, flag, Wish(verb=Verb.SHARE, reason=reason, weight=weight), form)


@click.command()
@flag_argument
@click.argument("digest")
@reason_option(required=True)
@format_option
@click.pass_obj
def release(home: Home, flag: TopicKey, digest: str, reason: str, form: Format) -> int:
    """Take a spec out of quarantine, where a switch-off put it. `flag show` lists the digests."""
    return ask(home, flag, Wish(verb=Verb.RELEASE, reason=reason, target=digest), form)


@click.command()
@flag_argument
@click.argument("change", metavar="ID")
@reason_option(required=True)
@format_option
@click.pass_obj
def approve(home: Home, flag: TopicKey, change: str, reason: str, form: Format) -> int:
    """Approve of the change ID, which somebody else signed with another key, where a policy asks for a second person."""
    return ask(home, flag, Wish(verb=Verb.APPROVE, reason=reason, target=change), form)


ASKING = [*(_command(verb, help_) for verb, help_ in HELP.items()), share, release, approve]
