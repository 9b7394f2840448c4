"""``tidegate worker``: one stream worker. Many of them form a consumer group: this is how it scales out."""

import asyncio
import signal
import sys

import click
import uvloop

from tidegate.cli.connect import connection
from tidegate.runtime.home import Home
from tidegate.runtime.logs import configure
from tidegate.runtime.problem import Problem
from tidegate.runtime.serve import serving
from tidegate.runtime.settings import Settings
from tidegate.runtime.stopping import stop_signals
from tidegate.worker import Role, Worker, WorkerFailed


@click.command()
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.option("--instance", default="", help="Name of this member of the group, kept over restarts: they disturb nobody then.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Serve /metrics and health here. [default: http.<role> of config.yaml]"
)
@click.pass_obj
def worker(home: Home, role: str, instance: str, port: int | None) -> None:
    """Run a stream worker: `intake` checks telemetry and packs it, `judge` makes KPIs, scores, verdicts and alarms of it,
    `experiment` adds up who saw which variant of a flag, and what came of it.

    Start as many as there is load for; they share the partitions. SIGTERM ends one cleanly; with --instance its partitions wait
    6 s for it to come back. SIGUSR1 ends it for good: the others take over at once.
    """
    settings = home.settings
    configure(settings.log, sys.stderr, role=role)
    work = Worker(Role(role), connection(home, Role(role).value), instance=instance)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(work, settings, port if port is not None else _port(settings, work.role)))


def _port(settings: Settings, role: Role) -> int:
    ports = {Role.INTAKE: settings.http.intake, Role.JUDGE: settings.http.judge, Role.EXPERIMENT: settings.http.experiment}
    return ports[role]


async def _run(work: Worker, settings: Settings, port: int) -> None:
    stop = stop_signals()

    def leave() -> None:
        work.leave()
        stop.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, leave)
    async with serving(settings.http.host, port, work.not_ready):
        try:
            await work.run(stop)
        except WorkerFailed as error:
            raise Problem(str(error), "start it again: nothing is lost") from error
