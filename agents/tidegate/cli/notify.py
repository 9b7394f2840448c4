"""``tidegate notify``: tells targets of alarms."""

import asyncio
import sys

import click

from tidegate.alarms.notices import Policy
from tidegate.broker import KafkaLog
from tidegate.cli.connect import connection
from tidegate.notify import Gatekeeper, Notifier, Place, Target, build, build_gates
from tidegate.ports import SystemClock, SystemDisk
from tidegate.runtime.home import Home
from tidegate.runtime.logs import configure
from tidegate.runtime.problem import Problem
from tidegate.runtime.serve import serving
from tidegate.runtime.stopping import run_until, stop_signals
from tidegate.wire.documents import KeyRole
from tidegate.wire.names import duration_ms


@click.command()
@click.pass_obj
def notify(home: Home) -> None:
    """Tell the targets of notify.targets in config.yaml of alarms: Alertmanager, signed webhooks, people. Ask notify.gates.

    Groups by service and name, leaves out what is silenced or explained by a rollback. Any number may run. Serves /metrics and
    health at http.notify. See docs/alarms.md.
    """
    configure(home.settings.log, sys.stderr, role="notify")
    settings = home.settings.notify
    if not settings.targets and not settings.gates:
        raise Problem(f"{home.config} names no notify.targets and no notify.gates", "add one; see docs/alarms.md", code=2)
    policy = Policy(
        wait_ms=duration_ms(settings.wait), interval_ms=duration_ms(settings.interval), repeat_ms=duration_ms(settings.repeat)
    )
    asyncio.run(_run(home, build(settings.targets, policy, Place(home.folder, settings.console))))


async def _run(home: Home, targets: list[Target]) -> None:
    stop = stop_signals()
    log = KafkaLog(connection(home, "notify"), client_id="notify")
    gates = build_gates(home.settings.notify.gates, home.folder)
    keeper = Gatekeeper(log, SystemClock(), home.signer(KeyRole.GATE), gates) if gates else None
    notifier = Notifier(log, SystemClock(), SystemDisk(home.state / "notify"), home.trust, targets, keeper=keeper)
    try:
        async with serving(home.settings.http.host, home.settings.http.notify, notifier.not_ready):
            await run_until(stop, notifier.run(), notifier.stop)
    finally:
        await log.close()
