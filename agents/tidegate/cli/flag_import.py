"""``tidegate flag import``: the flags of a flagd file, each as an intent of its own."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate.cli.connect import run
from tidegate.cli.flag_ask import Wish, intent_of, reason_option, send
from tidegate.cli.flag_file import read_ramp
from tidegate.cli.flag_set import in_the_words_of_a_file, rehearsed
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.session import Exit, Session, session
from tidegate.cli.yaml_file import faulty
from tidegate.rollout.ledger import Ledger
from tidegate.runtime.faults import Fault
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode, decode_strict, encode
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import KeyRole, Verb
from tidegate.wire.flagchanges import FlagChange, FlagRamp
from tidegate.wire.flags import EVALUATORS, METADATA, FlagFile, TopicKey, evaluators_of, file_faults, flag_file
from tidegate.wire.flagspecs import FlagSpec, spec_faults
from tidegate.wire.flagstates import FlagState, spec_digest
from tidegate.wire.names import is_name


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
    """``set``, ``unchanged`` or ``refused``; in a dry run ``would be set`` or ``would be refused``."""
    says: str = ""


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--set", "set_id", type=NameType(), required=True, help="The set that takes the flags.")
@click.option("--immediate", is_flag=True, help="New flags have no guard: each change is for everyone at once.")
@click.option("--guard", type=NameType(), multiple=True, help="New flags are judged by this service; may be repeated.")
@click.option("--ramp", "course", type=click.Path(path_type=Path), help="File with `ramp:`, for each flag that has a guard.")
@click.option("--safe-variant", help="Of new flags that have such a variant; else it is their default variant.")
@click.option("--dry-run", is_flag=True, help="Say what would be decided now; sign and send nothing.")
@reason_option
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
    """Set every flag of a flagd JSON FILE, one by one; what the set has beside its flags comes first.

    Nothing is sent where the file has a fault: all of them are named by their paths. What is unchanged is left alone, a flag of
    the set that is not in the file too. A refusal of one flag does not stop the rest.

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
    rows: list[Row] = []
    try:
        run(_import(home, Import(path=file, file=found, set_id=set_id, how=how, reason=reason, dry_run=dry_run), rows))
    finally:
        # Also where somebody ends it, or no answer comes: what was sent stands.
        if rows:
            _print(rows, form)
    return Exit.FAILED if any("refused" in row.outcome for row in rows) else Exit.OK


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


async def _import(home: Home, wanted: Import, rows: list[Row]) -> None:
    """Send what has changed, and put a row for each flag into ``rows`` as it is answered."""
    signer = None if wanted.dry_run else home.signer(KeyRole.OPERATOR)
    async with session(home) if wanted.dry_run else session(home, topics=("decisions",)) as here:
        changes = list(_changes(here.model.ledger, wanted))
        ledger = here.model.ledger
        for number, (key, change) in enumerate(changes, start=1):
            if change is None:
                rows.append(Row(flag=str(key), outcome="unchanged"))
                continue
            wish = Wish(verb=Verb.SET, reason=wanted.reason, flag=change)
            if signer is None:
                ledger = _rehearse(here, ledger, key, wish, home.settings.fleet, rows)
                continue
            decision = (await send(here, signer, intent_of(here.model.ledger, home.settings.fleet, key, wish))).told.decision
            rows.append(_row(key, "", decision.kind, decision.message or decision.reason))
            _progress(number, len(changes))


def _rehearse(here: Session, ledger: Ledger, key: TopicKey, wish: Wish, fleet: str, rows: list[Row]) -> Ledger:
    """Put what would be decided into ``rows``; return the ledger with the shared rules that would be there for the next flag."""
    would = rehearsed(here, intent_of(ledger, fleet, key, wish), ledger)
    rows.append(_row(key, "would be ", would.kind, would.message or would.reason))
    return ledger if would.flag_set is None else replace(ledger, flag_sets=ledger.flag_sets | {key.subject: would.flag_set})


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
        before = ledger.flag_sets.get(key.subject)
        if _plain(bytes(value)) != b"{}":
            same = before is not None and _plain(bytes(before.value)) == _plain(bytes(value))
            yield key, None if same else FlagChange(value=value)
    rules = evaluators_of(bytes(file.evaluators))
    changes: list[tuple[TopicKey, FlagChange | None]] = []
    for name, definition in file.flags.items():
        key = TopicKey(wanted.set_id, name)
        state = ledger.flags.get(key.subject)
        spec = _spec(state, definition, wanted.how)
        found += [(f"flags.{name}.{_named(path)}", problem) for path, problem in spec_faults(spec, key, rules)]
        changes.append((key, None if _same(state, spec) else FlagChange(spec=spec, ramp=_course(spec, wanted.how))))
    if found:
        raise _faulty(wanted.path, found)
    yield from changes


def _spec(state: FlagState | None, definition: msgspec.Raw, how: How) -> FlagSpec:
    if state is not None:
        return replace(state.spec, definition=definition)
    bare = FlagSpec(definition=definition, guard=how.guard, immediate=how.immediate)
    fits = how.safe_variant is not None and how.safe_variant in bare.decoded().variants
    return replace(bare, safe_variant=how.safe_variant) if fits else bare


def _course(spec: FlagSpec, how: How) -> FlagRamp | None:
    return None if spec.immediate else how.ramp


def _same(state: FlagState | None, spec: FlagSpec) -> bool:
    return state is not None and not state.archived and spec_digest(state.spec) == spec_digest(spec)


def _named(path: str) -> str:
    """Return the path of a spec's fault as a person who has only a flagd file finds it."""
    options = {"safeVariant": "(--safe-variant)", "immediate": "(--immediate or --guard)"}
    return options.get(path, path.removeprefix("definition."))


def _plain(value: bytes) -> bytes:
    """Return JSON that neither spaces nor the order of keys tell apart."""
    return encode(decode(value, dict[str, object]))


def _progress(number: int, whole: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{number} of {whole}", nl=number == whole, err=True)


def _faulty(path: Path, found: list[Fault]) -> Problem:
    return faulty(path, found, "nothing was sent", "mend it and import it again")
