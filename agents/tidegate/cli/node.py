"""``tidegate node``: one node agent, from its file; and ``revert``, what a person on the node can do without any network."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import sys
import time
from pathlib import Path
from typing import TextIO

import click
import structlog
from msgspec.structs import replace
from prometheus_client import REGISTRY

from tidegate.broker import Connection, KafkaLog
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.rollout_start import person
from tidegate.cli.session import Exit
from tidegate.cli.words import reason_option
from tidegate.node import ConfigError, NodeAgent, NodeConfig, build_agent, load_config
from tidegate.node.by_hand import Revert, answer, ask
from tidegate.node.state import StateFile
from tidegate.ports import SystemDisk
from tidegate.reconcile.held import NodeState
from tidegate.runtime.addresses import addresses
from tidegate.runtime.logs import configure
from tidegate.runtime.problem import Problem
from tidegate.runtime.serve import NotReady, serving
from tidegate.runtime.settings import LogSettings
from tidegate.runtime.stopping import END_WITHIN_S, Stopped, run_until, stop_signals, unless

ANSWERED_WITHIN_S = 10.0
LOOK_EVERY_S = 0.2

log_of_node = structlog.get_logger("node")

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(invoke_without_command=True)
@click.option("--config", "path", type=FILE, help="The node's YAML file.  [required]")
@click.option("--stop-services", is_flag=True, help="Drain the services when the agent stops; without it they run on.")
@click.pass_context
def node(context: click.Context, path: Path | None, stop_services: bool) -> None:
    """Run a node agent: carry out what is desired, measure what runs, report it.

    Serves /metrics and health at metrics_port of the file. SIGTERM ends it; its services run on, and its successor adopts them.
    """
    if context.invoked_subcommand is not None:
        return
    if path is None:
        raise click.MissingParameter(param_hint="--config", param_type="option")
    config = load_config(path)
    if bootstrap := os.environ.get("TIDEGATE_BOOTSTRAP"):
        config = replace(config, kafka=replace(config.kafka, bootstrap=bootstrap))
    addresses(config.kafka.bootstrap, "TIDEGATE_BOOTSTRAP" if bootstrap else f"{path}: kafka.bootstrap")
    configure(LogSettings(), sys.stderr, role="node", node=config.node)
    try:
        asyncio.run(_run(config, stop_services=stop_services))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


@node.command()
@click.argument("service", required=False)
@click.option("--config", "path", type=FILE, required=True, help="The node's YAML file.")
@reason_option("in the node's reports, and in the decision that follows", default="")
@format_option
def revert(service: str | None, path: Path, reason: str, form: Format) -> int:
    """Go back on this node from the version that SERVICE was started with last to what was good here before it.

    Needs no broker. It holds until another rollout; one that is under way is rolled back everywhere once the fleet hears of it.
    """
    config = load_config(path)
    disk = SystemDisk(Path(config.state), private=True)
    asked = Revert(id=secrets.token_hex(8), leave=_leave(config, StateFile(disk).load(), service), actor=person(), reason=reason)
    try:
        ask(disk, asked)
    except OSError as error:
        raise Problem(
            f"{config.state}: {error.strerror}", "run this as the user who runs the agent, with room on the disk"
        ) from error
    deadline_s = time.monotonic() + ANSWERED_WITHIN_S
    while (answered := answer(disk)) is None or answered.id != asked.id:
        if time.monotonic() >= deadline_s:
            raise Problem(
                f"no answer from the agent of {config.node} within {ANSWERED_WITHIN_S:g} s; it will obey when it runs",
                f"start it: tidegate node --config {path}",
                code=Exit.TIMEOUT,
            )
        time.sleep(0.1)
    show([{"service": name, "said": said} for name, said in sorted(answered.said.items())], form, empty="nothing was asked")
    left = StateFile(disk).load()
    done = left is not None and all(_is_left(left, name, version) for name, version in asked.leave.items())
    return Exit.OK if done else Exit.FAILED


def _leave(config: NodeConfig, state: NodeState | None, service: str | None) -> dict[str, str]:
    """Return the service to revert and the version that it leaves. Problem where that is not clear."""
    if service is None and len(config.services) != 1:
        raise Problem(
            f"{config.node} has {len(config.services)} services", f"name one: {', '.join(sorted(config.services))}", code=2
        )
    name = service or next(iter(config.services))
    if name not in config.services:
        raise Problem(f"{config.node} has no service {name}", f"it has: {', '.join(sorted(config.services)) or 'none'}", code=2)
    held = state.services.get(name) if state is not None else None
    if held is None or held.applied is None:
        raise Problem(f"nothing was started of {name} on {config.node}", f"see what its agent holds in {config.state}")
    return {name: held.applied.version}


def _is_left(state: NodeState, service: str, version: str) -> bool:
    held = state.services.get(service)
    return held is not None and any(bad.never and bad.artifact.version == version for bad in held.bad)


async def _run(config: NodeConfig, *, stop_services: bool) -> None:
    stop = stop_signals()
    where = Connection(config.kafka.bootstrap, config.kafka.prefix, config.kafka.access.of("node", Path()))
    where.arguments()  # refuse before anything starts
    with contextlib.suppress(Stopped):
        Path(config.state).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing runs yet
        lock = await unless(stop, hold_state(Path(config.state)))
        with lock:
            await _agent(config, where, stop, stop_services=stop_services)


async def hold_state(state: Path) -> TextIO:
    """Hold a state folder until the file is closed. An agent that is still there, draining what it stops perhaps, is waited for:
    two would take each other's processes for their own.
    """
    told = False
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context((state / "agent.lock").open("w"))
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    log_of_node.warning("waiting: another agent runs with this state folder", state=str(state))
                told = True
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                stack.pop_all()
                return lock


async def _agent(config: NodeConfig, where: Connection, stop: asyncio.Event, *, stop_services: bool) -> None:
    log = KafkaLog(where, client_id=f"node-{config.node}", one_of_many=True)
    agent = build_agent(config, log, registry=REGISTRY)
    try:
        async with serving(config.metrics_host, config.metrics_port or 0, _not_ready(agent)):
            within_s = END_WITHIN_S + (config.stopped_within_s if stop_services else 0)
            await run_until(stop, agent.run(), lambda: agent.stop(stop_services=stop_services), within_s)
    finally:
        await log.close()


def _not_ready(agent: NodeAgent) -> NotReady:
    return lambda: None if agent.caught_up else "desired has not been read to its end yet"
