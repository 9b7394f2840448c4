"""``tidegate rollout pause | resume | promote | abort | ...``: signed intents, each answered by a record."""

import secrets
import time

import click

from tidegate.cli.connect import run
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.rollout_groups import subject_of
from tidegate.cli.rollout_start import ANSWER_WITHIN_S, person
from tidegate.cli.session import Exit, session
from tidegate.cli.tell import line
from tidegate.cli.words import ServiceType, reason_option
from tidegate.model import Told
from tidegate.model.asked import Asker, Wish, intent_of
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import checked
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Hush, KeyRole, Verb
from tidegate.wire.envelope import beyond_scope, seal
from tidegate.wire.groups import is_group

HELP = {
    Verb.PAUSE: "Stop advances and batches; judgement and rollback go on.",
    Verb.RESUME: "Go on after a pause.",
    Verb.PROMOTE: "End the bake or answer the gate of this stage; never overrules a fail.",
    Verb.UNDO: "Go back from what was promoted to the rollback target of its plan, and withdraw what waits.",
    Verb.RETRY: "Try the last plan again.",
}


def ask(home: Home, subject: str, verb: Verb, *, target: str, reason: str, form: Format) -> int:
    """Send one intent and print the record that answers it; exit code 1 where it is a refusal."""
    return answer(run(send(home, subject, verb, reason, target=target)), form)


def answer(told: Told, form: Format) -> int:
    """Print the record that answers an intent, and return the exit code."""
    if form == "table":
        click.echo(line(told))
    else:
        dump(told.decision, form)
    return Exit.FAILED if told.decision.kind is DecisionKind.REFUSE else Exit.OK


async def send(home: Home, subject: str, verb: Verb, reason: str, *, target: str = "", hush: Hush | None = None) -> Told:
    """Sign and send one intent, which names the generation that was read just before; return the record that answers it.

    Problem where the key that signs here is bound to other subjects: nothing is sent.
    """
    signer = home.signer(KeyRole.OPERATOR)
    async with session(home, topics=("decisions",)) as here:
        wish, by = Wish(verb=verb, reason=reason, target=target, hush=hush), Asker(home.settings.fleet, person())
        now_ms = time.time_ns() // 1_000_000
        intent = intent_of(here.model.ledger, subject, wish, by, unique=secrets.token_hex(8), now_ms=now_ms)
        key = home.trust.keys.get(signer.key_id)
        beyond = beyond_scope(intent, key) if key is not None else ""
        if beyond:
            raise Problem(beyond, "ask somebody whose key counts for it; see: tidegate keys list")
        return await here.ask("intents", subject, seal(checked(intent), signer), intent.id, within_s=ANSWER_WITHIN_S)


def _command(verb: Verb, help_: str) -> click.Command:
    @click.command(name=verb.value, help=help_)
    @click.argument("service", type=ServiceType(groups=True))
    @reason_option(default="")
    @format_option
    @click.pass_obj
    def command(home: Home, service: str, reason: str, form: Format) -> int:
        return ask(home, subject_of(service), verb, target="", reason=reason, form=form)

    return command


@click.command()
@click.argument("service", type=ServiceType(groups=True))
@click.option("--plan", "plan_id", metavar="ID", default="", help="Of this plan alone, under way or waiting.")
@reason_option(default="")
@format_option
@click.pass_obj
def abort(home: Home, service: str, plan_id: str, reason: str, form: Format) -> int:
    """Roll back what is under way or watched, now, and withdraw the plans that wait.

    It wins whatever the rollout waits for. Once its watch is over, nothing is under way any more: `tidegate rollout undo SERVICE`
    goes back then. Where nothing is under way, what waits is withdrawn. All of group/NAME goes back, the last wave first.
    """
    if plan_id and is_group(service):
        raise click.UsageError("a group goes back as one; leave --plan out")
    return ask(home, subject_of(service), Verb.ABORT, target=plan_id, reason=reason, form=form)


@click.command()
@click.argument("service", type=ServiceType(groups=True))
@click.argument("version")
@reason_option(default="")
@format_option
@click.pass_obj
def release(home: Home, service: str, version: str, reason: str, form: Format) -> int:
    """Take VERSION out of quarantine, where a rollback put it."""
    return ask(home, subject_of(service), Verb.RELEASE, target=version, reason=reason, form=form)


@click.command()
@click.argument("service", type=ServiceType(groups=True))
@click.argument("plan_id", metavar="PLAN")
@reason_option(default="")
@format_option
@click.pass_obj
def approve(home: Home, service: str, plan_id: str, reason: str, form: Format) -> int:
    """Approve of PLAN, which somebody else signed with another key, where it or a policy asks for a second person."""
    return ask(home, subject_of(service), Verb.APPROVE, target=plan_id, reason=reason, form=form)


ASKING = [*(_command(verb, help_) for verb, help_ in HELP.items()), abort, release, approve]
