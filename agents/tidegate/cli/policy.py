"""``tidegate policy``: signed policies, which stop starts and advances and never a way back (H3)."""

import time
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec.structs import replace

from tidegate.cli.connect import run
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.policy_file import moment_ms, read_policy
from tidegate.cli.rollout_ask import answer
from tidegate.cli.rollout_start import ANSWER_WITHIN_S, person
from tidegate.cli.session import session
from tidegate.cli.tell import clock
from tidegate.cli.words import ServiceType, reason_option
from tidegate.model import Told
from tidegate.model.alarms import policies_in_force, policy_row
from tidegate.rollout.calendar import shown
from tidegate.rollout.ledger import InForce, Ledger
from tidegate.rollout.policies import spent_by, told_budget
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import checked, convert
from tidegate.wire.documents import KeyRole, digest
from tidegate.wire.envelope import seal
from tidegate.wire.names import duration_ms
from tidegate.wire.policies import Freeze, Policy, Recurring, policy_faults


@click.group()
def policy() -> None:
    """Freeze rollouts, cap rollbacks, ask for a second approver. Starts and advances wait; rollback, abort and undo never do."""


@policy.command(name="set")
@click.argument("file", type=click.Path(path_type=Path))
@reason_option("in the policy and in the decision")
@format_option
@click.pass_obj
def set_(home: Home, file: Path, reason: str | None, form: Format) -> int:
    """Put the policy in FILE in force, in place of the one of its name.

    The file has name, and some of services, freezes, rollbackBudget, dwell, secondApprover. Setting it again begins to count
    its rollback budget anew.
    """
    known = {"fleet": home.settings.fleet, "issuedMs": _now_ms(), "actor": person()}
    found = read_policy(file, known)
    return answer(run(_send(home, replace(found, reason=found.reason if reason is None else reason))), form)


@policy.command()
@click.argument("name")
@click.option(
    "--service", "services", type=ServiceType(), multiple=True, help="What is frozen; may be repeated. None: everything."
)
@click.option("--for", "length", metavar="DURATION", help="How long from now on, as in 2h. Without an end: until it is lifted.")
@click.option("--from", "start", metavar="TIME", help="When it begins, as in 2026-12-24T18:00:00+01:00.")
@click.option("--until", "end", metavar="TIME", help="When it ends.")
@click.option(
    "--recurring", nargs=3, metavar="START END OFFSET", help="As in 'fri 16:00' 'mon 08:00' +01:00, or 18:00 08:00 +00:00."
)
@reason_option("in the policy and in the decision", required=True)
@format_option
@click.pass_obj
def freeze(
    home: Home,
    name: str,
    services: tuple[str, ...],
    length: str | None,
    start: str | None,
    end: str | None,
    recurring: tuple[str, str, str] | None,
    reason: str,
    form: Format,
) -> int:
    """Let nothing start or advance, as the policy NAME, until it ends or is lifted."""
    if length is not None and (start or end):
        raise Problem("--for counts from now on", "use it without --from and --until", code=2)
    try:
        until_ms = _now_ms() + duration_ms(length) if length is not None else moment_ms(end) if end else 0
        hours = convert(dict(zip(("start", "end", "utcOffset"), recurring, strict=True)), Recurring) if recurring else None
        when = Freeze(from_ms=moment_ms(start) if start else 0, until_ms=until_ms, recurring=hours)
    except ValueError as error:
        raise Problem(str(error), "see: tidegate policy freeze --help", code=2) from error
    found = Policy(
        name=name,
        fleet=home.settings.fleet,
        services=services,
        freezes=(when,),
        issued_ms=_now_ms(),
        actor=person(),
        reason=reason,
    )
    faults = policy_faults(found)
    if 0 < until_ms <= found.issued_ms:
        faults.append(("freezes[0].untilMs", "it has ended already"))
    if faults:
        raise Problem("; ".join(what for _, what in faults), "see: tidegate policy freeze --help", code=2)
    return answer(run(_send(home, found)), form)


@policy.command()
@click.argument("name")
@reason_option(required=True)
@format_option
@click.pass_obj
def lift(home: Home, name: str, reason: str, form: Format) -> int:
    """End the policy NAME: what waited for it goes on."""
    ended = Policy(name=name, fleet=home.settings.fleet, issued_ms=_now_ms(), actor=person(), reason=reason)
    return answer(run(_send(home, ended)), form)


@policy.command(name="list")
@format_option
@click.pass_obj
def list_(home: Home, form: Format) -> None:
    """List the policies in force, and what each stops now."""
    ledger = run(_read(home))
    show([_row(ledger, one, form) for one in policies_in_force(ledger)], form, empty="no policy is in force")


async def _send(home: Home, document: Policy) -> Told:
    signer = home.signer(KeyRole.OPERATOR)
    async with session(home, topics=("decisions",)) as here:
        before = here.model.ledger.policies.get(document.name)
        if before is not None:
            # Clocks of operators differ; what is signed knowing of the policy in force is later than it.
            document = replace(document, issued_ms=max(document.issued_ms, before.policy.issued_ms + 1))
        envelope = seal(checked(document), signer)
        return await here.ask("plans", document.key, envelope, digest(envelope), within_s=ANSWER_WITHIN_S)


async def _read(home: Home) -> Ledger:
    async with session(home, topics=("decisions",)) as here:
        return here.model.ledger


def _row(ledger: Ledger, held: InForce, form: Format) -> dict[str, object]:
    found, now_ms = held.policy, _now_ms()
    row, spent = policy_row(ledger, held, now_ms), spent_by(ledger, held, now_ms)
    if form != "table":
        return {"policy": found, "since_ms": row.since_ms, "frozen": row.frozen, "budget_spent": row.budget_spent}
    return {
        "name": found.name,
        "services": ", ".join(found.services) or "all",
        "says": "; ".join(_says(found)),
        "now": told_budget(found, spent) if spent else "frozen" if row.frozen else "",
        "by": found.actor,
        "reason": found.reason,
    }


def _says(found: Policy) -> Iterator[str]:
    for one in found.freezes:
        begins = f"from {_date(one.from_ms)} " if one.from_ms else ""
        ends = f" until {_date(one.until_ms)}" if one.until_ms else ""
        yield f"frozen {begins}{shown(one) if one.recurring or not ends else ''}{ends}".replace("  ", " ")
    if found.rollback_budget is not None:
        yield f"{found.rollback_budget.rollbacks} rollbacks within {found.rollback_budget.within}"
    if found.dwell is not None:
        yield f"{found.dwell} between rollouts"
    if found.second_approver:
        yield "second approver"


def _date(at_ms: int) -> str:
    return f"{time.strftime('%Y-%m-%d', time.localtime(at_ms / 1000))} {clock(at_ms)[:5]}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
