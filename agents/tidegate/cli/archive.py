"""``tidegate export`` and ``tidegate restore``: the control topics as one file, and a cluster made of it."""

import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
from msgspec import Struct

from tidegate.archive import Checked, Exported, Restored, check
from tidegate.archive import export as export_log
from tidegate.archive import restore as restore_to
from tidegate.archive.cluster import Cluster
from tidegate.archive.export import BACK
from tidegate.archive.file import Head
from tidegate.broker import create_topics
from tidegate.cli.connect import connection, open_log, run
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.tell import clock, subject_name
from tidegate.runtime.home import Home
from tidegate.wire.names import duration_ms
from tidegate.wire.topics import BY_NAME

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@format_option
@click.pass_obj
def export(home: Home, file: Path, form: Format) -> None:
    """Write the control topics to FILE: one archive, from which the fleet can go on elsewhere.

    Each topic is read to an end captured now; agents may go on working, and what they do from then on is not in it. For a move
    end them first: tidegate restore says whether an agent was still deciding.
    """
    done = run(_export(home, file, quiet=form != "table"))
    if form != "table":
        dump(done, form)
        return
    click.echo(f"{file}: {sum(done.records.values())} records, {done.size_bytes} bytes\nsha256 {done.sha256}")


async def _export(home: Home, file: Path, *, quiet: bool) -> Exported:
    head = Head(fleet=home.trust.fleet, made_ms=time.time_ns() // 1_000_000, by=_version())

    def said(topic: str, count: int) -> None:
        if not quiet:
            click.echo(f"{topic:<12}{count:>9}")

    async with open_log(home, "export", "admin") as log:
        return await export_log(log, file, head, said)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--sha256", default="", metavar="DIGEST", help="Refuse another file than the one that export printed this for.")
@click.option("--replace", is_flag=True, help="Delete the control topics of the target first, whatever they hold.")
@click.option("--over", default="", metavar="LIFE", help="Replace although this decision agent leads on the target.")
@click.option("--check", "only_check", is_flag=True, help="Verify the file and write nothing. Needs no broker.")
@format_option
@click.pass_obj
def restore(home: Home, file: Path, sha256: str, replace: bool, over: str, only_check: bool, form: Format) -> None:
    """Make the control topics of an empty cluster, or prefix, from the archive FILE.

    The whole file and the chain of its decisions are verified before anything is written. Agents that are started too early wait:
    the topic desired comes last.

    \b
    Exit codes: 0 done, 1 a file that is damaged, or a target that holds records or is led, 2 another fleet's file, or none.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    checked = check(file, home.trust.fleet, sha256)
    if form == "table":
        click.echo("\n".join(_lines(checked)))
    restored = None if only_check else run(_restore(home, checked, replace=replace, over=over))
    if form != "table":
        dump(_said(checked, restored), form)
    elif restored is not None:
        where = connection(home, "admin")
        click.echo(
            f"{sum(restored.records.values())} records written to {where.prefix}* at {where.bootstrap}\n"
            f"start the decision agents: the next one leads in epoch {restored.epoch + 1}; then the rest"
            + (f"\npaused until you say tidegate rollout resume or abort: {_services(checked)}" if checked.under_way else "")
        )


async def _restore(home: Home, checked: Checked, *, replace: bool, over: str) -> Restored:
    where = connection(home, "admin")
    async with open_log(home, "restore", "admin"):
        # What is no part of an archive is there before agents begin.
        await create_topics(where, names=frozenset(BY_NAME) - frozenset(BACK))
        cluster = Cluster(where, duration_ms(home.settings.timings.takeover) / 1_000)
        try:
            return await restore_to(checked, cluster, replace=replace, over=over, now_ms=time.time_ns() // 1_000_000)
        finally:
            await cluster.close()


class Said(Struct, frozen=True, kw_only=True):
    """What a restore says to programs. ``epoch`` and ``written`` are empty where nothing was."""

    file: str
    sha256: str
    fleet: str
    made_ms: int
    records: dict[str, int]
    decisions: int
    under_way: list[str]
    resigned: bool
    written: dict[str, int]
    epoch: int


def _said(checked: Checked, restored: Restored | None) -> Said:
    return Said(
        file=str(checked.path),
        sha256=checked.sha256,
        fleet=checked.head.fleet,
        made_ms=checked.head.made_ms,
        records=checked.records,
        decisions=checked.ledger.seq,
        under_way=checked.under_way,
        resigned=checked.resigned,
        written=restored.records if restored is not None else {},
        epoch=restored.epoch if restored is not None else 0,
    )


def _lines(checked: Checked) -> list[str]:
    made = time.strftime("%Y-%m-%d", time.localtime(checked.head.made_ms / 1000))
    found = [
        f"{checked.path}: fleet {checked.head.fleet}, made {made} {clock(checked.head.made_ms)} by tidegate {checked.head.by}",
        f"sha256 {checked.sha256}",
        f"{sum(checked.records.values())} records, whole; {checked.ledger.seq} decisions, each follows from the one before",
    ]
    if checked.under_way:
        found.append(f"under way: {_services(checked)}")
    if checked.ledger.seq and not checked.resigned:
        found.append("a decision agent had not resigned when it was made: what was decided after that is not in it")
    return found


def _services(checked: Checked) -> str:
    return ", ".join(map(subject_name, checked.under_way))


def _version() -> str:
    try:
        return version("tidegate")
    except PackageNotFoundError:
        return "unknown"
