"""``tidegate experiment list | status | report``: what was declared, what has been counted, and what is proposed."""

from pathlib import Path

import click

from tidegate.cli.connect import run
from tidegate.cli.experiment_plot import picture
from tidegate.cli.experiment_read import read_experiments
from tidegate.cli.experiment_tell import lines, proposal
from tidegate.cli.output import Format, dump, format_option, show
from tidegate.cli.session import session
from tidegate.model.experiments import ENDED, Known
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem


@click.group()
def experiment() -> None:
    """Compare the variants of flags. A flag's spec declares its experiment; docs/experiments.md says how."""


@experiment.command(name="list")
@format_option
@click.pass_obj
def list_(home: Home, form: Format) -> None:
    """List the experiments: what each compares, how many users it has, and what is proposed."""
    found = [one.status for one in run(_read(home))]
    if form != "table":
        dump(found, form)
        return
    rows = [
        {
            "experiment": one.experiment,
            "flag": one.flag,
            "state": one.state,
            "users": one.users,
            "primary": one.metrics[0].metric if one.metrics else "",
            "proposal": proposal(one),
            "reason": one.reason.replace("_", " "),
        }
        for one in found
    ]
    show(rows, form, empty="there is no experiment; declare one in a flag's spec: docs/experiments.md")


@experiment.command()
@click.argument("name", required=False)
@format_option
@click.pass_obj
def status(home: Home, name: str | None, form: Format) -> None:
    """Show the numbers of experiment NAME (of every one that runs, where none is named), and what is proposed."""
    found = [_named(run(_read(home)), name)] if name is not None else [one for one in run(_read(home)) if one.state != ENDED]
    if form != "table":
        dump([one.status for one in found] if name is None else found[0].status, form)
    elif not found:
        click.echo("no experiment runs; see: tidegate experiment list")
    else:
        click.echo("\n\n".join("\n".join(lines(one.status)) for one in found))


@experiment.command()
@click.argument("name")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the estimate over time, as SVG.")
@format_option
@click.pass_obj
def report(home: Home, name: str, plot: Path | None, form: Format) -> None:
    """Report on experiment NAME: its numbers, what is proposed, and a picture of how the estimate came about."""
    one = _named(run(_read(home)), name)
    if plot is not None:
        try:
            plot.write_text(picture(one))
        except OSError as error:
            raise Problem(f"{plot}: {error.strerror}", "name a file that can be written", code=2) from error
    if form != "table":
        dump(one.status, form)
        return
    click.echo("\n".join(lines(one.status)))
    click.echo(f"\n  drawn: {plot}" if plot is not None else "\n  a picture of it: --plot FILE.svg")


async def _read(home: Home) -> list[Known]:
    async with session(home, topics=("decisions",)) as here:
        return await read_experiments(here)


def _named(found: list[Known], name: str) -> Known:
    one = next((one for one in found if one.declared.name == name), None)
    if one is None:
        names = ", ".join(one.declared.name for one in found)
        raise Problem(f"there is no experiment {name}", f"known are: {names}" if names else "see: tidegate experiment list")
    return one
