"""``tidegate api``: serves flags; and the tokens that open it."""

import asyncio
import sys

import click
from prometheus_client import REGISTRY

from tidegate.api import Board, Metrics, Tokens, flags_served
from tidegate.api.tokens import FILE, make_token, read_tokens, revoke_token
from tidegate.broker import KafkaLog
from tidegate.cli.connect import connection
from tidegate.cli.output import Format, format_option, show
from tidegate.ports import SystemClock, SystemDisk
from tidegate.runtime.home import Home
from tidegate.runtime.logs import configure
from tidegate.runtime.serve import serving
from tidegate.runtime.settings import ApiSettings
from tidegate.runtime.stopping import run_until, stop_signals


@click.group(invoke_without_command=True)
@click.pass_context
def api(ctx: click.Context) -> None:
    """Serve flags: OFREP over HTTP at api.port, flagd's sync over gRPC at api.sync of config.yaml.

    `tidegate up` runs it too, where config.yaml has the section api. Without any token only this machine is served. Metrics and
    health are at http.api; while no broker answers, health says how old the flags are. See docs/api.md.
    """
    if ctx.invoked_subcommand is None:
        home: Home = ctx.obj
        configure(home.settings.log, sys.stderr, role="api")
        asyncio.run(_run(home))


@api.command()
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="SET", help="Let it ask for this set alone; may be repeated.")
@click.pass_obj
def token(home: Home, name: str, sets: tuple[str, ...]) -> None:
    """Make a token and print it, once: only its digest is kept."""
    home.settings  # noqa: B018 - refuse a folder that is no home
    click.echo(make_token(home.folder / FILE, name, sets))


@api.command()
@format_option
@click.pass_obj
def tokens(home: Home, form: Format) -> None:
    """List the tokens by their names, with the sets that each is for."""
    rows = [{"name": one.name, "sets": list(one.sets) or ["all"]} for one in read_tokens(home.folder / FILE)]
    show(rows, form, empty="no token: only this machine is served")


@api.command()
@click.argument("name")
@click.pass_obj
def revoke(home: Home, name: str) -> None:
    """End a token; a server that runs hears of it within a second."""
    revoke_token(home.folder / FILE, name)
    click.echo(f"token {name} is revoked")


async def _run(home: Home) -> None:
    stop = stop_signals()
    settings = home.settings.api or ApiSettings()
    clock = SystemClock()
    known = Tokens(home.folder / FILE, clock.now_ms)
    log = KafkaLog(connection(home), client_id="api")
    board = Board(log, clock, home.trust, SystemDisk(home.state / "api"))
    metrics = Metrics(REGISTRY, board)
    try:
        async with (
            flags_served(board, metrics, known, settings) as served,
            serving(
                home.settings.http.host,
                home.settings.http.api,
                board.not_ready,
                note=board.note,
                also=(f"OFREP {served.url}", f"flagd's sync {served.sync}"),
            ),
        ):
            following = asyncio.ensure_future(board.follow())

            async def end() -> None:
                following.cancel()

            await run_until(stop, _ended(following), end)
    finally:
        await log.close()


async def _ended(following: asyncio.Future[None]) -> None:
    """Return when it was cancelled; raise what it raised."""
    await asyncio.wait([following])
    if not following.cancelled():
        following.result()
