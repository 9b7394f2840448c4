"""``tidegate flag set``: another definition of a flag, checked here before it is signed."""

import time
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from tidegate.cli.connect import run
from tidegate.cli.flag_ask import FlagType, intent_of, print_answer, send
from tidegate.cli.flag_file import change_faults, faulty_flag, read_change
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.session import Exit, Session, session
from tidegate.cli.words import reason_option
from tidegate.model.asked import Wish
from tidegate.rollout.change import Change
from tidegate.rollout.events import IntentArrived
from tidegate.rollout.flag_answers import answer_flag
from tidegate.rollout.flag_levels import shared_value
from tidegate.rollout.ledger import Ledger
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, KeyRole, Phase, Verb
from tidegate.wire.flagchanges import FlagChange
from tidegate.wire.flags import EVALUATORS, State, TopicKey, evaluators_of
from tidegate.wire.flagspecs import safe_variant
from tidegate.wire.reasons import Reason


@click.command(name="set")
@click.argument("flag", type=FlagType(beside=True), metavar="SET/FLAG")
@click.option("-f", "--file", type=click.Path(path_type=Path), help="YAML or JSON with spec, and ramp where it comes by stages.")
@click.option("--variant", help="Give everyone this variant: the safe one, or any where the flag is immediate.")
@click.option("--dry-run", is_flag=True, help="Say what would be decided now; sign and send nothing.")
@reason_option(required=True)
@format_option
@click.pass_obj
def set_(home: Home, flag: TopicKey, file: Path | None, variant: str | None, dry_run: bool, reason: str, form: Format) -> int:
    """Want another definition of SET/FLAG: the one in a file, or one variant for everyone.

    What is not toward safe comes by the stages of its ramp, unless the spec says `immediate: true`. Every fault is named by its
    path before anything is signed. Of `SET/$evaluators` and `SET/$metadata` the file holds the whole object.
    """
    if (file is None) == (variant is None):
        raise Problem("give a file or a variant, one of them", "see: tidegate flag set --help", code=2)
    change = read_change(file, flag) if file is not None else None
    return run(_set(home, flag, Wanted(file=file, change=change, variant=variant or "", dry_run=dry_run, reason=reason), form))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on the command line: a file and the change in it, or a variant."""

    file: Path | None
    change: FlagChange | None
    variant: str
    dry_run: bool
    reason: str


async def _set(home: Home, key: TopicKey, wanted: Wanted, form: Format) -> int:
    signer = None if wanted.dry_run else home.signer(KeyRole.OPERATOR)
    # Alarms and verdicts matter for what would be decided, not for what is faulty.
    async with session(home) if wanted.dry_run else session(home, topics=("decisions",)) as here:
        ledger = here.model.ledger
        change = wanted.change or _one_variant(ledger, key, wanted.variant)
        if wanted.file is not None:
            rules = evaluators_of(shared_value(ledger, key, EVALUATORS))
            found = change_faults(change, key, rules)
            if found:
                raise faulty_flag(wanted.file, found)
        intent = intent_of(ledger, home.settings.fleet, key, Wish(verb=Verb.SET, reason=wanted.reason, flag=change))
        would = rehearsed(here, intent)
        if would.kind is DecisionKind.REFUSE and would.reason is Reason.BAD_DOCUMENT:
            raise Problem(f"{key}: {in_the_words_of_a_file(would.message)}", "mend it and set it again", code=Exit.USAGE)
        if signer is None:
            return _print_rehearsal(key, would, form)
        answer = await send(here, signer, intent)
        code = print_answer(answer, form)
        flag = answer.told.decision.flag
        if form == "table" and code == Exit.OK and flag is not None and flag.phase is Phase.IDLE:
            click.echo(f"  see: tidegate flag ramp {key} --watch")
        return code


def rehearsed(here: Session, intent: Intent, ledger: Ledger | None = None) -> Change:
    """Return what the decision agent would answer now, by its own rules, as far as this session has read."""
    now_ms = time.time_ns() // 1_000_000
    return answer_flag(ledger or here.model.ledger, here.model.view, IntentArrived(intent), intent, now_ms)


def in_the_words_of_a_file(message: str) -> str:
    """Return a refusal with its paths as they are in a file."""
    return message.replace("flag.spec", "spec").replace("flag.ramp", "ramp").replace("flag.value", "value")


def _one_variant(ledger: Ledger, key: TopicKey, variant: str) -> FlagChange:
    """Return the change by which everyone gets a variant. Problem where that is growth, which comes by stages (G2)."""
    state = ledger.flags.get(key.subject)
    if state is None:
        raise Problem(f"there is no flag {key}", f"set its definition first: tidegate flag set {key} -f FILE", code=2)
    definition, spec = state.spec.decoded(), state.spec
    if variant not in definition.variants:
        known = ", ".join(definition.variants)
        raise Problem(f"{variant!r} is no variant of {key}", f"it has {known}", code=2)
    if not spec.immediate and variant != safe_variant(spec):
        raise Problem(
            f"{variant} for everyone is growth, and {key} has a guard: that comes by stages",
            f"tidegate flag show {key} --file > flag.yaml; set defaultVariant, drop targeting, give a ramp; "
            f"then tidegate flag set {key} -f flag.yaml",
            code=2,
        )
    wanted = replace(definition, state=State.ENABLED, default_variant=variant, targeting=None)
    # With one variant for everyone there is nothing left to compare.
    return FlagChange(spec=replace(spec, definition=msgspec.Raw(msgspec.json.encode(wanted)), experiment=None))


def _print_rehearsal(key: TopicKey, would: Change, form: Format) -> int:
    if form == "table":
        click.echo(f"{key}: would be answered by {would.kind}: {would.message or would.reason.replace('_', ' ')}")
    else:
        dump({"flag": str(key), "kind": would.kind, "reason": would.reason, "message": would.message, "dry_run": True}, form)
    return Exit.FAILED if would.kind is DecisionKind.REFUSE else Exit.OK
