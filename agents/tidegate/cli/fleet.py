"""``tidegate fleet``: nodes with what they run, what was learned of their services; cordon, uncordon, retire."""

import time

import click

from tidegate.cli.connect import run
from tidegate.cli.fleet_learned import learned
from tidegate.cli.keys_nodes import retire
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.rollout_ask import ask
from tidegate.cli.session import session
from tidegate.cli.tell import age, in_few_words
from tidegate.cli.words import reason_option
from tidegate.model import Model
from tidegate.model.asked import EVERYTHING
from tidegate.model.nodes import NodeRow, node_rows
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.documents import Verb


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
    return [_row(one, form) for one in node_rows(model, now_ms)]


def _row(one: NodeRow, form: Format) -> dict[str, object]:
    age_ms = one.report_age_ms
    told: dict[str, object] = (
        {"report_age": "" if age_ms is None else age(age_ms)} if form == "table" else {"report_age_ms": age_ms}
    )
    return {
        "node": one.node,
        "zone": one.zone,
        "node_state": one.node_state,
        "service": one.service,
        "version": one.version,
        "state": one.state,
        "cohort": one.cohort,
        **told,
        "break_glass": in_few_words(one.break_glass) if one.break_glass is not None else "",
        "problem": one.problem,
    }


def _cordon(verb: Verb, help_: str) -> click.Command:
    @click.command(name=verb.value, help=help_)
    @click.argument("node")
    @reason_option(default="")
    @format_option
    @click.pass_obj
    def command(home: Home, node: str, reason: str, form: Format) -> int:
        model = run(_read(home))
        if node not in model.view.enrolled:
            raise Problem(f"{node} is no enrolled node", "see: tidegate fleet list")
        return ask(home, EVERYTHING, verb, target=node, reason=reason, form=form)

    return command


_KEPT_OUT = """Let NODE take part in no rollout that begins from now on.

It is in no canary, control, stage or batch, and nobody waits for it. What has passed every stage it takes all the same, like a
node that was away. To keep a machine as it is, stop its agent as well, started without --stop-services: its services run on.
"""
fleet.add_command(_cordon(Verb.CORDON, _KEPT_OUT))
fleet.add_command(_cordon(Verb.UNCORDON, "Let NODE take part again."))
fleet.add_command(retire)
fleet.add_command(learned)
