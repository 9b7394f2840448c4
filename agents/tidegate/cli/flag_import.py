"""``tidegate flag import``: the flags of a flagd file, each as an intent of its own, many of them under way at once."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate.cli.connect import run
from tidegate.cli.flag_ask import intent_of
from tidegate.cli.flag_batch import ask_all
from tidegate.cli.flag_file import read_ramp
from tidegate.cli.flag_set import in_the_words_of_a_file, rehearsed
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.session import Exit, Session, session
from tidegate.cli.words import reason_option
from tidegate.cli.yaml_file import faulty
from tidegate.flags.published import Pin
from tidegate.model.asked import Wish
from tidegate.rollout.ledger import Ledger
from tidegate.runtime.faults import Fault
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode, decode_strict, encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import Intent, KeyRole, Phase, Verb
from tidegate.wire.envelope import Signs
from tidegate.wire.exposures import EXPERIMENT, WATCHED
from tidegate.wire.flagchanges import FlagChange, FlagRamp
from tidegate.wire.flags import EVALUATORS, METADATA, FlagFile, TopicKey, definition_of, evaluators_of, file_faults, flag_file
from tidegate.wire.flagspecs import FlagSpec, spec_faults
from tidegate.wire.flagstates import FlagState, flag_key, spec_digest
from tidegate.wire.names import is_name

PROGRESS_EVERY_S = 5.0
"""So often progress is told where no terminal can show it in place."""


class NameType(click.ParamType):
    """The name of a set or a service."""

    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        if not is_name(str(value)):
            self.fail(f"{value!r} is no name: letters, digits, . _ - (at most 128)", param, ctx)
        return str(value)


class How(Struct, frozen=True, kw_only=True):
    """How flags come that the file defines: what flagd's file has no word for. A flag that is there keeps its own words."""

    immediate: bool = False
    guard: tuple[str, ...] = ()
    ramp: FlagRamp | None = None
    safe_variant: str | None = None


class Row(Struct, frozen=True, kw_only=True):
    """What became of one flag, or of what the set has beside its flags."""

    flag: str
    outcome: str
    """``set``, ``unchanged`` or ``refused``; ``no answer`` or ``not sent`` where it ended early; in a dry run ``would be set``
    or ``would be refused``.
    """
    says: str = ""


Rows = dict[TopicKey, Row]
"""In the order of the file."""


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--set", "set_id", type=NameType(), required=True, help="The set that takes the flags.")
@click.option("--immediate", is_flag=True, help="New flags have no guard: each change is for everyone at once.")
@click.option("--guard", type=NameType(), multiple=True, help="New flags are judged by this service; may be repeated.")
@click.option("--ramp", "course", type=click.Path(path_type=Path), help="File with `ramp:`, for each flag that has a guard.")
@click.option("--safe-variant", help="Of new flags that have such a variant; else it is their default variant.")
@click.option("--dry-run", is_flag=True, help="Say what would be decided now; sign and send nothing.")
@reason_option(required=True)
@format_option
@click.pass_obj
def import_(
    home: Home,
    file: Path,
    set_id: str,
    immediate: bool,
    guard: tuple[str, ...],
    course: Path | None,
    safe_variant: str | None,
    dry_run: bool,
    reason: str,
    form: Format,
) -> int:
    """Set every flag of a flagd JSON FILE; what the set has beside its flags comes first.

    Nothing is sent where the file has a fault: all of them are named by their paths. What is unchanged is left alone, a flag of
    the set that is not in the file too. A refusal of one flag does not stop the rest. One that ended early says of each flag what
    became of it; the same command again does the rest.

    \b
    Exit codes: 0 all of it stands, 1 something was refused, 2 a faulty file, 4 no answer in time.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    how = How(
        immediate=immediate,
        guard=guard,
        ramp=read_ramp(course) if course is not None else None,
        safe_variant=safe_variant,
    )
    if immediate and (guard or course is not None):
        raise Problem("--immediate means no guard and no stages", "use it without --guard and --ramp", code=2)
    found = read_flagd(file)
    rows: Rows = {}
    try:
        run(_import(home, Import(path=file, file=found, set_id=set_id, how=how, reason=reason, dry_run=dry_run), rows))
    finally:
        # Also where somebody ends it, or no answer comes: what was sent stands.
        if rows:
            _print(list(rows.values()), form)
    return Exit.FAILED if any("refused" in row.outcome for row in rows.values()) else Exit.OK


def _print(rows: list[Row], form: Format) -> None:
    show([msgspec.structs.asdict(row) for row in rows], form, empty="")
    if form == "table":
        counts = Counter(row.outcome for row in rows)
        click.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))


class Import(Struct, frozen=True, kw_only=True):
    """One import as it was asked for."""

    path: Path
    file: FlagFile
    set_id: str
    how: How
    reason: str
    dry_run: bool


def read_flagd(path: Path) -> FlagFile:
    """Return a flagd file. Problem (code 2) names every fault by its path."""
    try:
        data = path.read_bytes()
        decode_strict(data, dict)
        found = flag_file(data)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "name a flagd file", code=2) from error
    except Malformed as fault:
        raise _faulty(path, [(fault.path, fault.problem)]) from fault
    wrong = file_faults(found)
    if wrong:
        raise _faulty(path, wrong)
    return found


async def _import(home: Home, wanted: Import, rows: Rows) -> None:
    """Send what has changed; ``rows`` says of each flag what has become of it, at every moment."""
    signer = None if wanted.dry_run else home.signer(KeyRole.OPERATOR)
    async with session(home) if wanted.dry_run else session(home, topics=("decisions",)) as here:
        work = Work(here=here, fleet=home.settings.fleet, reason=wanted.reason)
        changes = list(_changes(here.model.ledger, wanted))
        if signer is None:
            _rehearse(work, changes, rows)
            return
        for key, change in changes:
            rows[key] = Row(flag=str(key), outcome="unchanged" if change is None else "not sent")
        told = Progress(sum(change is not None for _, change in changes))
        # Flags may need the shared rules, so those are answered before any flag is sent.
        for beside in (True, False):
            part = {key: change for key, change in changes if change is not None and key.is_flag is not beside}
            await _send(work, signer, part, rows, told)


class Work(Struct, frozen=True, kw_only=True):
    """What every intent of an import is made with."""

    here: Session
    fleet: str
    reason: str

    def intent(self, key: TopicKey, change: FlagChange, ledger: Ledger | None = None) -> Intent:
        """Return the intent that sets one flag, or what the set has beside them."""
        wish = Wish(verb=Verb.SET, reason=self.reason, flag=change)
        return intent_of(ledger or self.here.model.ledger, self.fleet, key, wish)


async def _send(work: Work, signer: Signs, changes: dict[TopicKey, FlagChange], rows: Rows, told: "Progress") -> None:
    def taken() -> Iterator[Intent]:
        for key, change in changes.items():
            rows[key] = Row(flag=str(key), outcome="no answer", says="it may still be decided; import the file again")
            yield work.intent(key, change)

    def hear(intent: Intent, decision: Decision) -> None:
        key = flag_key(intent.subject)
        row = _row(key, "", decision.kind, decision.message or decision.reason)
        # An import before this one, or somebody else, may have set it meanwhile.
        stands = decision.kind is DecisionKind.REFUSE and _stands(work.here.model.ledger, key, changes[key])
        rows[key] = Row(flag=str(key), outcome="unchanged", says="it was set meanwhile") if stands else row
        told.one_more()

    await ask_all(work.here, signer, taken(), hear)


def _rehearse(work: Work, changes: list[tuple[TopicKey, FlagChange | None]], rows: Rows) -> None:
    """Put what would be decided into ``rows``; each flag is looked at with the shared rules that would be there by then."""
    ledger = work.here.model.ledger
    for key, change in changes:
        if change is None:
            rows[key] = Row(flag=str(key), outcome="unchanged")
            continue
        would = rehearsed(work.here, work.intent(key, change, ledger), ledger)
        rows[key] = _row(key, "would be ", would.kind, would.message or would.reason)
        if would.flag_set is not None:
            ledger = replace(ledger, flag_sets=ledger.flag_sets | {key.subject: would.flag_set})


def _row(key: TopicKey, would: str, kind: DecisionKind, says: str) -> Row:
    refused = kind is DecisionKind.REFUSE
    return Row(
        flag=str(key), outcome=f"{would}{'refused' if refused else 'set'}", says=in_the_words_of_a_file(says.replace("_", " "))
    )


def _changes(ledger: Ledger, wanted: Import) -> Iterator[tuple[TopicKey, FlagChange | None]]:
    """Yield what is to be asked for, in order; None where nothing changes. Problem names the faults that the options leave."""
    file, found = wanted.file, list[Fault]()
    for name, value in ((METADATA, file.metadata), (EVALUATORS, file.evaluators)):
        key = TopicKey(wanted.set_id, name)
        if _plain(bytes(value)) != b"{}":
            change = FlagChange(value=value)
            yield key, None if _stands(ledger, key, change) else change
    rules = evaluators_of(bytes(file.evaluators))
    changes: list[tuple[TopicKey, FlagChange]] = []
    for name, published in file.flags.items():
        key, definition = TopicKey(wanted.set_id, name), _authored(published)
        state = ledger.flags.get(key.subject)
        spec = _spec(state, definition, wanted.how)
        found += [(f"flags.{name}.{_named(path)}", problem) for path, problem in spec_faults(spec, key, rules)]
        change = FlagChange(spec=spec, ramp=_course(spec, wanted.how))
        changes.append((key, change))
    if found:
        raise _faulty(wanted.path, found)
    # Only a definition without faults has a digest.
    yield from ((key, None if _stands(ledger, key, change) else change) for key, change in changes)


def _authored(definition: msgspec.Raw) -> msgspec.Raw:
    """Return a definition without the marks that decide leaves in what is published: an export may be imported again."""
    found = definition_of(bytes(definition))
    marks = {EXPERIMENT, WATCHED, *(pin for pin in get_args(Pin) if found.metadata.get(pin) is True)}
    metadata = {name: value for name, value in found.metadata.items() if name not in marks}
    return definition if metadata == found.metadata else msgspec.Raw(replace(found, metadata=metadata).encoded())


def _spec(state: FlagState | None, definition: msgspec.Raw, how: How) -> FlagSpec:
    if state is not None:
        return replace(state.spec, definition=definition)
    bare = FlagSpec(definition=definition, guard=how.guard, immediate=how.immediate)
    fits = how.safe_variant is not None and how.safe_variant in bare.decoded().variants
    return replace(bare, safe_variant=how.safe_variant) if fits else bare


def _course(spec: FlagSpec, how: How) -> FlagRamp | None:
    return None if spec.immediate else how.ramp


def _stands(ledger: Ledger, key: TopicKey, change: FlagChange) -> bool:
    """Return whether nothing would change by it."""
    if change.spec is None:
        beside = ledger.flag_sets.get(key.subject)
        return beside is not None and _plain(bytes(beside.value)) == _plain(change.shared)
    state = ledger.flags.get(key.subject)
    if state is None or state.archived or spec_digest(state.spec) != spec_digest(change.spec):
        return False
    return state.killed or state.phase is not Phase.DONE or state.held > 0  # else nobody has it: it was aborted, or switched off


def _named(path: str) -> str:
    """Return the path of a spec's fault as a person who has only a flagd file finds it."""
    options = {"safeVariant": "(--safe-variant)", "immediate": "(--immediate or --guard)"}
    return options.get(path, path.removeprefix("definition."))


def _plain(value: bytes) -> bytes:
    """Return JSON that neither spaces nor the order of keys tell apart."""
    return encode(decode(value, dict[str, object]))


class Progress:
    """Tells on stderr how many were answered: in place on a terminal, elsewhere by a line now and then."""

    def __init__(self, whole: int) -> None:
        self._whole = whole
        self._answered = 0
        self._told_s = time.monotonic()

    def one_more(self) -> None:
        """Count an answer."""
        self._answered += 1
        text, last = f"{self._answered} of {self._whole}", self._answered == self._whole
        if sys.stderr.isatty():
            click.echo(f"\r{text}", nl=last, err=True)
        elif time.monotonic() - self._told_s >= PROGRESS_EVERY_S and not last:
            self._told_s = time.monotonic()
            click.echo(text, err=True)


def _faulty(path: Path, found: list[Fault]) -> Problem:
    return faulty(path, found, "nothing was sent", "mend it and import it again")
