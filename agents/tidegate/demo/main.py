"""``tidegate demo``: arguments, one run, one JSON, one exit code."""

import asyncio
import contextlib
import re
import shutil
import signal
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from tidegate.demo.fleet import CommandFailed
from tidegate.demo.narrator import Narrator
from tidegate.demo.releases import Fault
from tidegate.demo.report import DemoReport
from tidegate.demo.story import DemoFailed, Options, Story

WIDTH = 118
"""Columns where the output is no terminal."""

MARK, MARKED = "demo", "made by tidegate demo; removed by the next one\n"
"""The file by which a folder is known for a demo's own, and what it holds."""

ONLY = {"good": (Fault.NONE,), "errors": (Fault.ERRORS,), "slow": (Fault.SLOW,), "flag": ()}


@click.command(name="demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    help="Where the demo keeps keys, logs and state; emptied first.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("build/demo.json"),
    show_default=True,
    help="Where the JSON goes, and a picture of the output beside it.",
)
@click.option(
    "--servers", type=click.IntRange(6, 60), default=12, show_default=True, help="How many servers, each with a node agent."
)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True, help="Play the acts this many times.")
@click.option("--only", type=click.Choice(list(ONLY)), help="Only releases of this kind; flag: a guarded flag instead.")
@click.option("--json", "as_json", is_flag=True, help="Print nothing but the JSON.")
@click.option("--no-color", is_flag=True, help="No colours.")
def demo(folder: Path, report: Path, servers: int, repeat: int, only: str | None, as_json: bool, no_color: bool) -> None:
    """Show the whole loop on this machine: real servers, real requests, three releases; or a guarded flag (--only flag).

    Exit code 0: every release and the flag ended as they should, no request was lost and every node-second is accounted for. 1:
    something did not. 130: interrupted.
    """
    width = None if sys.stdout.isatty() else WIDTH
    console = Console(no_color=no_color, highlight=False, quiet=as_json, width=width, record=True)
    narrator = Narrator(console)
    if folder.exists():
        if not _is_ours(folder):
            raise click.ClickException(f"{folder} exists and is no folder of a demo; name another with --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).write_text(MARKED)
    options = Options(
        folder=folder.resolve(),
        servers=servers,
        repeat=repeat,
        faults=ONLY[only] if only else tuple(Fault),
        flag=only == "flag",
    )
    try:
        result = asyncio.run(_run(options, narrator))
    except (DemoFailed, CommandFailed) as error:
        raise click.ClickException(str(error)) from error
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("\ninterrupted; everything that was started has been stopped")
        sys.exit(130)
    narrator.report(result)
    text = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(text + "\n")
    if not as_json:
        # The picture must not fetch fonts from anywhere: every browser has a monospace one.
        picture = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="make demo"), flags=re.DOTALL)
        report.with_suffix(".svg").write_text(picture)
    if as_json:
        print(text)
    sys.exit(0 if result.ok else 1)


def _is_ours(folder: Path) -> bool:
    try:
        return (folder / MARK).read_text() == MARKED
    except (OSError, UnicodeDecodeError):
        return False


async def _run(options: Options, narrator: Narrator) -> DemoReport:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - inside asyncio.run
    asked = False

    def interrupt() -> None:
        nonlocal asked
        if not asked:  # once: a second Ctrl-C must not break off the tidying up
            asked = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
    return await Story(options, narrator).run()
