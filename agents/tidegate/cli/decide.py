"""``tidegate decide``: the decision agent."""

import asyncio
import secrets
import sys
import time

import click

from tidegate.broker import KafkaLog
from tidegate.cli.connect import connection
from tidegate.decider import Decider, Timings
from tidegate.ports import SystemClock
from tidegate.runtime.home import Home
from tidegate.runtime.logs import configure
from tidegate.runtime.serve import serving
from tidegate.runtime.stopping import run_until, stop_signals
from tidegate.wire.documents import KeyRole
from tidegate.wire.names import duration_ms


@click.command()
@click.pass_obj
def decide(home: Home) -> None:
    """Run the decision agent. Any number may run: the log says which one leads, the others stand by.

    Serves /metrics and health at http.decide of config.yaml. SIGTERM resigns, so that another leads at once.
    """
    configure(home.settings.log, sys.stderr, role="decide")
    asyncio.run(_run(home))


async def _run(home: Home) -> None:
    stop = stop_signals()
    settings = home.settings
    log = KafkaLog(connection(home, "decide"), client_id="decide")
    decider = Decider(
        log,
        SystemClock(),
        home.signer(KeyRole.DECISION),
        home.trust,
        life=f"{time.time_ns() // 1_000_000:x}-{secrets.token_hex(3)}",
        timings=Timings(
            heartbeat_s=duration_ms(settings.timings.heartbeat) / 1000, takeover_s=duration_ms(settings.timings.takeover) / 1000
        ),
    )
    try:
        async with serving(settings.http.host, settings.http.decide, decider.not_ready):
            await run_until(stop, decider.run(), decider.stop)
    finally:
        await log.close()
