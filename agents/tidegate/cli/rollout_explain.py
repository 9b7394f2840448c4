"""``tidegate rollout explain``: every decision of the last rollout, with its reason and its numbers."""

import click
import msgspec
from msgspec import Struct

from tidegate.cli.connect import run
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.rollout_evidence import evidence_lines, sentences
from tidegate.cli.rollout_groups import group_story, known_group, subject_of
from tidegate.cli.session import session
from tidegate.cli.tell import age, broken_glass, clock, subject_name, why
from tidegate.cli.words import ServiceType
from tidegate.model import Glass, Told, last_rollout
from tidegate.model.rollouts import decision_row
from tidegate.model.summary import last_verdict
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.decisions import Decision
from tidegate.wire.groups import is_group
from tidegate.wire.judgement import Verdict

SAID_ELSEWHERE = ("verdict", "metric", "canary", "control", "limit", "compared_with")


class Explained(Struct, frozen=True, kw_only=True):
    """The last rollout of a service. Plans and rosters inside the decisions are left out: they stand in the log."""

    service: str
    decisions: tuple[dict[str, object], ...]
    verdict: Verdict | None
    glass: Glass | None = None
    """Break-glass in force: nodes obey it, not the last of the decisions."""
    evidence: tuple[str, ...] = ()
    """What the verdict's evidence says, in sentences."""


@click.command()
@click.argument("service", type=ServiceType(groups=True))
@format_option
@click.pass_obj
def explain(home: Home, service: str, form: Format) -> None:
    """Tell why the last rollout of SERVICE went as it did: its decisions, reasons, facts, and the verdict's numbers.

    Of group/NAME its decisions and those of its members are told in one story.
    """
    told, verdict, glass = run(_read(home, service))
    if form != "table":
        rows = tuple(row(at_ms, decision) for at_ms, decision in told)
        said = sentences(verdict) if verdict is not None else ()
        dump(Explained(service=service, decisions=rows, verdict=verdict, glass=glass, evidence=said), form)
        return
    click.echo("\n".join([*text(told, verdict), *([broken_glass(glass)] if glass is not None else [])]))


async def _read(home: Home, service: str) -> tuple[list[tuple[int, Decision]], Verdict | None, Glass | None]:
    subject = subject_of(service)
    async with session(home) as here:
        if is_group(subject):
            story = group_story(here.model, known_group(here.model, subject))
            return [(one.at_ms, one.decision) for one in story], None, None
        told = last_rollout(here.model, subject)
        if not told:
            raise Problem(f"nothing was ever decided about {service}", "see: tidegate rollout status")
        return [(one.at_ms, one.decision) for one in told], last_verdict(here.model, subject), here.model.glass(subject)


def row(at_ms: int, decision: Decision) -> dict[str, object]:
    """Return a decision as a flat object."""
    found: dict[str, object] = msgspec.to_builtins(decision_row(Told(at_ms, decision)))
    return found


def text(told: list[tuple[int, Decision]], verdict: Verdict | None) -> list[str]:
    """Return the story in lines of plain text."""
    began_ms = told[0][0]
    several = len({decision.subject for _, decision in told}) > 1
    found: list[str] = []
    for at_ms, decision in told:
        when = f"{clock(at_ms)} +{age(at_ms - began_ms):<7}"
        whose = f"{subject_name(decision.subject)} " if several else ""
        found.append(f"{when} {decision.kind:<9} {whose}generation {decision.generation:<4} {decision.reason}: {why(decision)}")
        facts = [
            f"{name} {_fact(value)}"
            for name, value in decision.facts.items()
            if name not in SAID_ELSEWHERE and value not in ([], "")
        ]
        if facts:
            found.append(f"{'':21} {'; '.join(facts)}")
    if verdict is not None:
        found += ["", *numbers(verdict)]
    return found


def numbers(verdict: Verdict) -> list[str]:
    """Return what a verdict measured, on both sides."""
    found = [f"verdict: {verdict.outcome} ({verdict.reason.replace('_', ' ')}) {verdict.sentence}".rstrip()]
    other = verdict.compared_with or "control"
    if verdict.metric:
        sides = f"canary {_number(verdict.canary)}, {other} {_number(verdict.control)}"
        found.append(f"  {verdict.metric}: {sides}, limit {_number(verdict.limit)}")
    found.append(f"  canary   {verdict.canary_requests} requests, {verdict.canary_errors} errors")
    if verdict.compared_with and verdict.control_requests:
        found.append(f"  {other:<8} {verdict.control_requests} requests, {verdict.control_errors} errors")
    if verdict.canary_probes:
        found.append(f"  probes   {verdict.canary_probes} on the canary, {verdict.canary_probe_errors} errors")
        if verdict.control_probes:
            found.append(f"           {verdict.control_probes} on the control, {verdict.control_probe_errors} errors")
    if verdict.last_pane_ms:
        found.append(
            f"  panes    {clock(verdict.first_pane_ms)} to {clock(verdict.last_pane_ms)}, coverage {verdict.coverage:.0%}"
        )
    if verdict.silent_nodes:
        found.append(f"  silent   {', '.join(verdict.silent_nodes)}")
    return found + evidence_lines(verdict)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _fact(value: object) -> str:
    if isinstance(value, list):
        shown = ", ".join(str(item) for item in value[:8])
        return f"{shown} and {len(value) - 8} more" if len(value) > 8 else shown
    return f"{value:.4g}" if isinstance(value, float) else str(value)
