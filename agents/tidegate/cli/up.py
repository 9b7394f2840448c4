"""``tidegate up``: a broker, the topics, the keys and every role on this machine, until Ctrl-C."""

import asyncio
import contextlib
import fcntl
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tidegate.broker import create_topics, find_broker
from tidegate.cli.connect import connection, open_log
from tidegate.cli.publish import publish_keys
from tidegate.runtime.home import Home
from tidegate.runtime.logs import configure
from tidegate.runtime.problem import Problem
from tidegate.runtime.stopping import Stopped, stop_signals, unless
from tidegate.runtime.supervise import Program, Supervisor

READY_WITHIN_S = 60.0
WORKERS = ("intake", "judge", "experiment")


@click.command()
@click.option("--without-nodes", is_flag=True, help="Run the control plane alone.")
@click.option("--keep-services", is_flag=True, help="Let the services run on when this ends.")
@click.pass_obj
def up(home: Home, without_nodes: bool, keep_services: bool) -> None:
    """Run every role on this machine: broker, intake, judge, experiment, decide, notify if config.yaml names a target or a gate,
    api if it has the section api (`tidegate init` makes one), bridge if it has that one, and the agents of nodes/. Tells where
    each serves.

    Finds or starts a broker where config.yaml names none. Restarts what falls over. Ctrl-C stops all of it, in reverse order.
    """
    if not home.config.exists():
        raise Problem(f"{home.folder} is no home", "run: tidegate init --nodes 4", code=2)
    home.trust  # noqa: B018 - refuse before anything starts
    configure(home.settings.log, sys.stderr, role="up")
    nodes = [] if without_nodes else sorted(home.nodes.glob("*.yaml"))
    with _alone(home):
        asyncio.run(_up(home, nodes, keep_services=keep_services))


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Hold the home. Problem where another one holds it: two would fight over broker, ports and logs."""
    home.state.mkdir(parents=True, exist_ok=True)
    with (home.state / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Problem(
                f"another tidegate up runs in {home.folder}", "stop that one first: Ctrl-C where it was started"
            ) from error
        yield


def is_up(home: Home) -> bool:
    """Return whether a ``tidegate up`` runs in a home."""
    try:
        with (home.state / "up.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # none ever did
    return False


async def _up(home: Home, nodes: list[Path], *, keep_services: bool) -> None:
    stop = stop_signals()
    where = home.settings.kafka.bootstrap
    with contextlib.suppress(Stopped):
        broker = await unless(stop, find_broker(bootstrap=where, folder=home.state / "kafka", announce=click.echo))
        click.echo(broker.describe())
        home.broker.write_text(broker.bootstrap + "\n")
        try:
            await unless(stop, _prepare(home))
            programs = _programs(home, nodes, broker.bootstrap, keep_services=keep_services)
            await _supervise(home, Supervisor(programs, logs=home.logs, state=home.state, announce=click.echo), stop)
        finally:
            home.broker.unlink(missing_ok=True)
            await broker.stop()
    click.echo("stopped")


async def _prepare(home: Home) -> None:
    await create_topics(connection(home, "admin"))
    async with open_log(home, "up", "admin") as log:
        await publish_keys(log, home)


async def _supervise(home: Home, supervisor: Supervisor, stop: asyncio.Event) -> None:
    try:
        await supervisor.start()
        stopping = asyncio.ensure_future(stop.wait())
        ready = asyncio.ensure_future(supervisor.ready(READY_WITHIN_S))
        await asyncio.wait([stopping, ready], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            _say(home, supervisor, ready.result())
            await stopping
        ready.cancel()
        click.echo("stopping")
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await supervisor.stop()


def _programs(home: Home, nodes: list[Path], bootstrap: str, *, keep_services: bool) -> list[Program]:
    tidegate = (sys.executable, "-m", "tidegate.cli.main", "--home", str(home.folder))
    environment = {"TIDEGATE_BOOTSTRAP": bootstrap}
    ends = () if keep_services else ("--stop-services",)
    # A name of its own: a member of a group that falls over finds its place kept, and the others are not disturbed.
    named = ("--instance", f"up-{socket.gethostname()}")
    worker = ("worker", *named)
    control: dict[str, tuple[str, ...]] = {role: (*worker, role) for role in WORKERS}
    control["decide"] = ("decide",)
    if home.settings.notify.targets or home.settings.notify.gates:
        control["notify"] = ("notify",)
    if home.settings.api is not None:
        control["api"] = ("api",)
    if home.settings.bridge is not None:
        control["bridge"] = ("bridge", *named)
    fleet = {f"node-{path.stem}": ("node", "--config", str(path), *ends) for path in nodes}
    return [
        Program(name=name, command=(*tidegate, *command), environment=environment, wave=wave)
        for wave, programs in enumerate((control, fleet))
        for name, command in programs.items()
    ]


def _say(home: Home, supervisor: Supervisor, late: dict[str, str]) -> None:
    for name in supervisor.names:
        state = f"not ready: {late[name]}; see {supervisor.log_of(name)}" if name in late else "ready"
        click.echo(f"  {name:<12} {supervisor.address_of(name) or '-':<26} {state}")
        for also in supervisor.also_of(name):
            click.echo(f"  {'':<12} {also}")
    click.echo(f"logs in {home.logs}; next: tidegate rollout start PLAN.yaml; Ctrl-C stops everything")
