"""``tidegate bridge``: takes OTLP metrics, from senders and from a collector's topics; and the tokens that open it."""

import asyncio
import sys

import click
from prometheus_client import REGISTRY

from tidegate.api.tokens import Tokens, make_token, read_tokens, revoke_token
from tidegate.bridge import Collected, Converter, Encoding, Metrics, Receiver, Sorter, received
from tidegate.broker import Connection, KafkaLog
from tidegate.cli.connect import connection
from tidegate.cli.output import Format, format_option, show
from tidegate.ports import SystemClock
from tidegate.runtime.home import Home
from tidegate.runtime.logs import configure
from tidegate.runtime.serve import serving
from tidegate.runtime.settings import BridgeSettings
from tidegate.runtime.stopping import run_until, stop_signals

FILE = "bridge-tokens.yaml"
SEND_WITHIN_S = 5.0
"""Less than the 10 s that senders wait for an answer."""


@click.group(invoke_without_command=True)
@click.option("--instance", default="", help="Name of this bridge, kept over restarts: its partitions wait 6 s for it then.")
@click.pass_context
def bridge(ctx: click.Context, instance: str) -> None:
    """Take OTLP metrics: over HTTP at bridge.port of config.yaml, and from the topics of collectors that bridge.topics names.

    `tidegate up` runs it too, where config.yaml has the section bridge. Any number may run and share the work. Without any token
    only this machine is served. Metrics and health are at http.bridge. See docs/opentelemetry.md.
    """
    if ctx.invoked_subcommand is None:
        home: Home = ctx.obj
        configure(home.settings.log, sys.stderr, role="bridge")
        asyncio.run(_run(home, connection(home, "bridge"), instance))


@bridge.command()
@click.argument("name")
@click.pass_obj
def token(home: Home, name: str) -> None:
    """Make a token for senders and print it, once: only its digest is kept."""
    home.settings  # noqa: B018 - refuse a folder that is no home
    click.echo(make_token(home.folder / FILE, name))


@bridge.command()
@format_option
@click.pass_obj
def tokens(home: Home, form: Format) -> None:
    """List the tokens by their names."""
    show([{"name": one.name} for one in read_tokens(home.folder / FILE)], form, empty="no token: only this machine is served")


@bridge.command()
@click.argument("name")
@click.pass_obj
def revoke(home: Home, name: str) -> None:
    """End a token; a bridge that runs hears of it within a second."""
    revoke_token(home.folder / FILE, name)
    click.echo(f"token {name} is revoked")


async def _run(home: Home, where: Connection, instance: str) -> None:
    stop = stop_signals()
    settings = home.settings.bridge or BridgeSettings()
    clock, metrics = SystemClock(), Metrics(REGISTRY)
    known = Tokens(home.folder / FILE, clock)
    log = KafkaLog(where, client_id="bridge", send_timeout_s=SEND_WITHIN_S)
    sorter = Sorter(log, metrics, settings.node)
    converter = Converter(where, log, clock, metrics, instance=instance)
    topics = {one.topic: Encoding(one.encoding) for one in settings.topics}
    collected = Collected(where, topics, log, sorter, metrics, instance=instance)
    try:
        async with (
            received(Receiver(sorter, known, metrics), known, settings) as url,
            serving(home.settings.http.host, home.settings.http.bridge, converter.not_ready, also=(f"OTLP {url}",)),
        ):
            working = asyncio.ensure_future(_work(converter, collected))

            async def end() -> None:
                working.cancel()

            await run_until(stop, _ended(working), end)
    finally:
        await log.close()


async def _work(converter: Converter, collected: Collected) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(converter.run())
        group.create_task(collected.run())


async def _ended(working: asyncio.Future[None]) -> None:
    """Return when it was cancelled; raise what it raised."""
    await asyncio.wait([working])
    if not working.cancelled():
        working.result()
