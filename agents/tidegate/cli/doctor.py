"""``tidegate doctor``: looks at a real installation and says what to mend."""

import asyncio
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping

import click

from tidegate.broker import Connection
from tidegate.broker.connection import UNANSWERED
from tidegate.cli.connect import run
from tidegate.cli.doctor_broker import doors, rights_findings, topic_findings
from tidegate.cli.doctor_finding import Finding, Level, note, problem, told
from tidegate.cli.doctor_fleet import fleet_findings, worker_findings
from tidegate.cli.doctor_home import home_findings, roles_here
from tidegate.cli.output import dump
from tidegate.cli.session import Exit
from tidegate.cli.up import is_up
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.acls import PRINCIPALS, Principal
from tidegate.wire.names import duration_ms

READY_WITHIN_S = 2.0
WITHIN_S = 120.0
ORDER = tuple(Level)
COLOURS = {Level.PROBLEM: "red", Level.WARNING: "yellow", Level.NOTE: "blue"}


@click.command()
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(PRINCIPALS), help="Come to the broker as this one alone; may be repeated."
)
@click.option("--strict", is_flag=True, help="Warnings, too, end it with exit code 1.")
@click.option(
    "--output", "-o", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@click.pass_obj
def doctor(home: Home, roles: tuple[Principal, ...], strict: bool, form: str) -> int:
    """Look at an installation and say what to mend: settings, keys, secrets, certificates, disk; broker, topics and rights;
    decision agent, workers and nodes, their clocks, dead letters. Changes nothing; takes until the next heartbeat, at most 10 s.

    It comes to the broker as every role whose password is here. Where one user is one role alone, say which: --role.

    \b
    Exit codes: 0 no problem (warnings may be told), 1 a problem, or with --strict a warning.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    found = sorted(run(examine(home, roles or PRINCIPALS)), key=lambda one: ORDER.index(one.level))
    counts = {level: sum(one.level is level for one in found) for level in Level}
    if form == "json":
        dump({"problems": counts[Level.PROBLEM], "warnings": counts[Level.WARNING], "findings": found}, "json")
    else:
        for one in found:
            click.echo(
                f"{click.style(f'{one.level}:', fg=COLOURS[one.level], bold=True)} {one.about}: {one.what}\n  do: {one.remedy}"
            )
        summary = ", ".join(f"{number} {level}{'' if number == 1 else 's'}" for level, number in counts.items() if number)
        click.echo(summary or "nothing to mend")
    return Exit.FAILED if counts[Level.PROBLEM] or (strict and counts[Level.WARNING]) else Exit.OK


async def examine(home: Home, roles: Collection[Principal] = PRINCIPALS) -> list[Finding]:
    """Return everything that should be otherwise, as these roles see it. What needs something broken is not looked at."""
    now_ms = time.time_ns() // 1_000_000
    try:
        found = home_findings(home, now_ms)
    except Problem as said:
        return [told("settings", said)]
    try:
        bootstrap = home.bootstrap()
    except Problem as said:
        return [*found, told("broker", said)]
    kafka = home.settings.kafka
    where = {
        role: Connection(bootstrap, kafka.prefix, kafka.access.of(role, home.folder))
        for role in roles_here(home)
        if role in roles
    }
    faults, inside = await doors(where, now_ms)
    found += [*faults, *await asyncio.to_thread(lambda: list(_processes(home)))]
    try:
        async with asyncio.timeout(WITHIN_S):
            return found + await _inside({role: where[role] for role in inside}, home)
    except UNANSWERED as error:
        what = f"the broker at {bootstrap} answered at first, and then not: {error or type(error).__name__}"
        return [*found, problem("broker", what, "see its log, and run it again")]


async def _inside(where: Mapping[Principal, Connection], home: Home) -> list[Finding]:
    """Return what can be seen by the roles that the broker let in."""
    if not where:
        return []
    found = await rights_findings(where)
    admin, operator = where.get("admin"), where.get("operator")
    if admin is None:
        found.append(note("topics", "topics and workers were not looked at", "run it where the password of the role admin is"))
    else:
        found += await topic_findings(admin)
    if any(one.level is Level.PROBLEM and one.about in ("topics", "rights") for one in found):
        return found  # who cannot read waits for ever
    skew_ms = 0
    if operator is None:
        found.append(note("fleet", "agents and nodes were not looked at", "run it where the password of the role operator is"))
    else:
        takeover_s = duration_ms(home.settings.timings.takeover) / 1_000
        seen, skew_ms = await fleet_findings(operator, home.trust, takeover_s)
        found += seen
    return found if admin is None else found + await worker_findings(admin, skew_ms)


def _processes(home: Home) -> Iterator[Finding]:
    """Yield which of the processes of a ``tidegate up`` that runs here are not ready, and why."""
    for path in sorted(home.state.glob("*.address")) if is_up(home) else ():  # those of one that was killed are left over
        try:
            with urllib.request.urlopen(f"{path.read_text().splitlines()[0]}/readyz", timeout=READY_WITHIN_S):  # noqa: S310 - ours
                pass
        except urllib.error.HTTPError as error:
            why = error.read(500).decode(errors="replace").strip()
            yield problem(path.stem, f"it is not ready: {why}", f"see {home.logs / path.stem}.log")
        except (OSError, IndexError, ValueError, http.client.HTTPException):
            yield problem(path.stem, "it does not answer", f"see {home.logs / path.stem}.log")
