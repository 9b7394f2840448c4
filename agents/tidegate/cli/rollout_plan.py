"""``tidegate rollout plan``: what each stage of a plan could see, before anything moves."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.connect import run
from tidegate.cli.group import missing
from tidegate.cli.group_file import is_group_file
from tidegate.cli.output import Format, dump, format_option, show
from tidegate.cli.plan_file import Given, read_plan
from tidegate.cli.rollout_traffic import Fleet, ask
from tidegate.rollout.stages import shrinking
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem

if TYPE_CHECKING:
    from tidegate.detect.drift.state import Drift


class ShareType(click.ParamType):
    """A share of requests, as ``0.001`` or ``0.1%``."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return a number from 0 to 1."""
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{text} is no share of requests; write 0.001 or 0.1%", param, ctx)
        return share


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--nodes", type=click.IntRange(1), help="Nodes that take part; otherwise those that could now.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second and node; otherwise as measured now.")
@click.option("--errors", type=ShareType(), help="Error ratio of the version that runs, as 0.1%; otherwise as measured now.")
@format_option
@click.pass_obj
def plan(home: Home, file: Path, nodes: int | None, rate: float | None, errors: float | None, form: Format) -> None:
    """Tell what each stage of FILE could see, with these nodes, this traffic and this bake. Nothing is started.

    For the median rollout: the smallest error ratio and the smallest latency shift that are caught within the bake, and the
    seconds until errors of 1 %, 5 % and 20 % are. Without --nodes and --rate the fleet is asked, its KPIs are listened to and
    what the judge has learned is taken in place of priors (tidegate fleet learned); with both no broker is needed.
    """
    try:
        from tidegate.cli import rollout_sight  # noqa: PLC0415 - so that what is missing can be named
    except ModuleNotFoundError as error:
        raise missing(error, "tidegate rollout plan") from error
    if is_group_file(file):
        raise Problem(f"{file} is a group", "give the files of its plans, one by one", code=2)
    asks = nodes is None or rate is None
    now_ms = time.time_ns() // 1_000_000
    # Without anybody to ask no home is needed either; a plan that is only looked at may belong to any fleet.
    name = home.settings.fleet if asks else "none"
    draft = read_plan(file, Given(fleet=name, now_ms=now_ms, expires_ms=now_ms + 1, actor=""))
    if nodes is not None and draft.plan.waves:
        raise Problem("waves are of zones, and --nodes names none", "leave out --nodes: then the fleet is asked", code=2)
    fleet = run(ask(home, draft.plan, listen=rate is None)) if asks else Fleet()
    drift, priors = _learned(home, draft.plan.service) if asks else (None, "no broker was asked")
    if wrong := shrinking(draft.plan, nodes or fleet.nodes, fleet.waves):
        raise Problem(wrong, "change the stages, or the nodes' zones", code=2)
    whole, service = nodes or fleet.nodes, rollout_sight.service_of(fleet.kpis, rate, errors, drift)
    stages = rollout_sight.stages_of(draft.plan, whole, service, first=fleet.first, waves=fleet.waves)
    if form != "table":
        dump(stages, form)
        return
    click.echo(f"{whole} nodes, {service.rate:.3g} requests/s each, {service.error_ratio:.2%} of them fail")
    click.echo(f"{rollout_sight.basis(service, drift, priors)}\n")
    show([rollout_sight.row(one) for one in stages], form, empty="")
    for line in rollout_sight.notes(stages):
        click.echo(line)


def _learned(home: Home, service: str) -> "tuple[Drift | None, str]":
    """Return what the judge has learned of a service; None, and why, where that cannot be read: a plan needs no judge."""
    from tidegate.cli import judge_state  # noqa: PLC0415 - with both options given nothing of the worker is needed

    try:
        return run(judge_state.remembered(home, service)).drift, ""
    except Problem as problem:
        return None, problem.what
