"""``tidegate rollout status``: phase, cohorts, what blocks the advance, the last verdict."""

import time

import click

from tidegate.cli.connect import run
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.rollout_groups import group_lines, status_of
from tidegate.cli.session import session
from tidegate.cli.tell import age, broken_glass, standing, subject_name, versions
from tidegate.cli.words import ServiceType
from tidegate.model import Summary, summary
from tidegate.model.summary import CohortSummary
from tidegate.rollout.group_status import GroupStatus
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.groups import is_group
from tidegate.wire.names import service_subject


@click.command()
@click.argument("service", required=False, type=ServiceType(groups=True))
@format_option
@click.pass_obj
def status(home: Home, service: str | None, form: Format) -> None:
    """Show where the rollout of SERVICE stands, or the group named group/NAME (every one of both, where none is named)."""
    now_ms = time.time_ns() // 1_000_000
    found = run(_summaries(home, service, now_ms))
    if form != "table":
        dump(found, form)
        return
    if not found:
        click.echo("nothing was rolled out yet; next: tidegate rollout start PLAN.yaml")
    for one in found:
        click.echo("\n".join(group_lines(one) if isinstance(one, GroupStatus) else lines(one, now_ms)))


async def _summaries(home: Home, service: str | None, now_ms: int) -> list[Summary | GroupStatus]:
    async with session(home) as here:
        if service is not None and is_group(service):
            return [status_of(here.model, service, now_ms)]
        known = sorted(here.model.ledger.subjects)
        if service is not None and service_subject(service) not in known:
            raise Problem(
                f"no rollout of {service} is known",
                f"known are: {', '.join(map(subject_name, known))}" if known else "start one: tidegate rollout start",
            )
        services = [summary(here.model, subject, now_ms) for subject in known if service in (None, subject.partition("/")[2])]
        groups = (
            [status_of(here.model, subject, now_ms) for subject in sorted(here.model.ledger.groups)] if service is None else []
        )
        return [*groups, *services]


def lines(one: Summary, now_ms: int) -> list[str]:
    """Return a summary in lines of plain text."""
    found = [f"{one.service}: {standing(one)}   {versions(one)}   generation {one.generation}"]
    if one.glass is not None:
        found.append(f"  {broken_glass(one.glass)}")
    found += [_cohort(cohort) for cohort in one.cohorts]
    found += [f"  waits: {blocker.sentence}" for blocker in one.blockers]
    if one.verdict is not None:
        verdict = one.verdict
        ago = age(max(0, now_ms - verdict.last_pane_ms))
        found.append(f"  verdict {ago} ago: {verdict.outcome} ({verdict.reason.replace('_', ' ')}) {verdict.sentence}".rstrip())
    if one.missing:
        found.append(f"  not reached: {', '.join(one.missing)}")
    if one.quarantined:
        found.append(f"  quarantined: {', '.join(one.quarantined)}; lift it with: tidegate rollout release {one.service} VERSION")
    found += [f"  alarm: {alarm}" for alarm in one.alarms]
    if one.queued:
        found.append(f"  {one.queued} plan{'s' if one.queued > 1 else ''} waiting" + (f": {one.waits}" if one.waits else ""))
    return found


def _cohort(cohort: CohortSummary) -> str:
    text = f"  {cohort.name:<8} {cohort.ready} of {cohort.nodes} ready on {cohort.version or '-'}"
    return text if cohort.expected == cohort.nodes else f"{text} ({cohort.expected} in this stage)"
