"""``tidegate fleet``: nodes with what they run, what was learned of their services; cordon, uncordon, retire."""

import time
from collections.abc import Iterator

import click

from tidegate.cli.connect import run
from tidegate.cli.fleet_learned import learned
from tidegate.cli.keys_nodes import retire
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.rollout_ask import ask
from tidegate.cli.session import session
from tidegate.cli.tell import age, in_few_words
from tidegate.model import Model
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.documents import Verb
from tidegate.wire.names import service_subject


@click.group()
def fleet() -> None:
    """List nodes; cordon, uncordon and retire them; see what was learned of a service."""


@fleet.command(name="list")
@format_option
@click.pass_obj
def list_(home: Home, form: Format) -> None:
    """List enrolled nodes with the version and state of each service and the age of the last report."""
    model = run(_read(home))
    show(rows(model, time.time_ns() // 1_000_000, form), form, empty="no node is enrolled; next: tidegate init --node NAME")


async def _read(home: Home) -> Model:
    async with session(home) as here:
        return here.model


def rows(model: Model, now_ms: int, form: Format) -> list[dict[str, object]]:
    """Return one row for each node and service; a node that never reported has one with nothing in it."""
    return [row for node in sorted(model.view.enrolled) for row in _node(model, node, now_ms, form)]


def _node(model: Model, node: str, now_ms: int, form: Format) -> Iterator[dict[str, object]]:
    seen = model.view.reports.get(node)
    report_age_ms = None if seen is None else max(0, now_ms - seen.seen_ms)
    reachable = "never seen" if seen is None else "reachable" if model.view.reachable(node, now_ms) else "unreachable"
    about: dict[str, object] = {
        "node": node,
        "zone": seen.report.zone if seen else "",
        "node_state": "cordoned" if node in model.ledger.cordoned else reachable,
    }
    told: dict[str, object] = (
        {"report_age": "" if report_age_ms is None else age(report_age_ms)}
        if form == "table"
        else {"report_age_ms": report_age_ms}
    )
    frozen = seen.report.frozen if seen else ""
    for service in seen.report.services if seen and seen.report.services else (None,):
        running: dict[str, object] = {
            "service": service.service if service else "",
            "version": service.version if service else "",
            "state": str(service.state) if service else "",
        }
        glass = model.glass(service_subject(service.service)) if service else None
        obeys: dict[str, object] = {"break_glass": in_few_words(glass) if glass is not None else ""}
        yield about | running | told | obeys | {"problem": frozen or (service.error if service else "")}


def _cordon(verb: Verb, help_: str) -> click.Command:
    @click.command(name=verb.value, help=help_)
    @click.argument("node")
    @click.option("--reason", default="", help="Why; stands in the decision.")
    @format_option
    @click.pass_obj
    def command(home: Home, node: str, reason: str, form: Format) -> int:
        model = run(_read(home))
        if node not in model.view.enrolled:
            raise Problem(f"{node} is no enrolled node", "see: tidegate fleet list")
        return ask(home, CORDONS, verb, target=node, reason=reason, form=form)

    return command


CORDONS = "svc/fleet"
"""A cordon concerns every subject, an intent names one: this stands in for all."""

fleet.add_command(_cordon(Verb.CORDON, "Let NODE take part in no rollout that begins from now on."))
fleet.add_command(_cordon(Verb.UNCORDON, "Let NODE take part again."))
fleet.add_command(retire)
fleet.add_command(learned)
