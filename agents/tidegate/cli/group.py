"""The group ``tidegate``: commands are imported when they are used, so that a light installation runs what it can."""

import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from tidegate.runtime.home import DEFAULT, Home
from tidegate.runtime.logs import configure
from tidegate.runtime.problem import Problem
from tidegate.runtime.settings import LogSettings
from tidegate.wire.codec import Malformed

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("tidegate.cli.init:init", "Make keys, settings and node files; enrol local nodes."),
    "up": ("tidegate.cli.up:up", "Run every role on this machine."),
    "worker": ("tidegate.cli.worker:worker", "Run a stream worker: intake, judge or experiment."),
    "decide": ("tidegate.cli.decide:decide", "Run the decision agent."),
    "node": ("tidegate.cli.node:node", "Run a node agent."),
    "notify": ("tidegate.cli.notify:notify", "Tell Alertmanager and webhooks of alarms."),
    "api": ("tidegate.cli.api:api", "Serve flags: OFREP, flagd's sync; make tokens."),
    "bridge": ("tidegate.cli.bridge:bridge", "Take OTLP metrics, by HTTP and from collectors' topics."),
    "health": ("tidegate.cli.health:health", "Ask a process whether it is alive and ready."),
    "rollout": ("tidegate.cli.rollout:rollout", "Start, watch, steer and explain rollouts."),
    "flag": ("tidegate.cli.flag:flag", "Set, kill, ramp, evaluate and explain feature flags."),
    "experiment": ("tidegate.cli.experiment:experiment", "Compare the variants of flags; see what is proposed."),
    "policy": ("tidegate.cli.policy:policy", "Freeze rollouts, cap rollbacks, ask for a second approver."),
    "alarm": ("tidegate.cli.alarm:alarm", "List alarms and their history."),
    "silence": ("tidegate.cli.silence:silence", "Hide alarms for a while; see what was hidden."),
    "breakglass": ("tidegate.cli.breakglass:breakglass", "Pause or roll back whatever the decision agent says."),
    "keys": ("tidegate.cli.keys:keys", "List, rotate and revoke keys; enrol nodes."),
    "fleet": ("tidegate.cli.fleet:fleet", "List nodes; cordon, uncordon and retire them."),
    "replay": ("tidegate.cli.replay:replay", "Derive what was decided again, byte for byte."),
    "export": ("tidegate.cli.archive:export", "Write the control topics to one file."),
    "restore": ("tidegate.cli.archive:restore", "Make the control topics of a cluster from such a file."),
    "doctor": ("tidegate.cli.doctor:doctor", "Look at an installation and say what to mend."),
    "topics": ("tidegate.cli.topics:topics", "Create, check and list topics."),
    "schema": ("tidegate.cli.schema:schema", "Print the JSON Schema of a file, for editors."),
    "sim": ("tidegate.cli.sim:sim", "Judge one rollout of a simulated fleet."),
    "demo": ("tidegate.demo.main:demo", "Show the whole loop on this machine."),
}
"""Name to (where it is, one line of help)."""

STDOUT = 1
EXTRAS = {
    "server": ("faust", "google", "grpc", "litestar", "mode", "numpy", "opentelemetry", "orjson", "river", "uvicorn", "uvloop"),
    "quickstart": ("confluent_kafka",),
    "node": ("cryptography", "prometheus_client", "rich", "structlog", "yaml"),
}


class NobodyReads(Exception):
    """Whoever read the output has gone, as ``head`` does."""


class Group(click.Group):
    """Looks commands up in the table and imports them late."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. NobodyReads where its output has nowhere to go: click would end with the code of a refusal."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _reader_has_gone():
                raise NobodyReads from error
            raise  # another pipe, or a connection

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the base class's signature
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        """Return a command, imported now. Problem names the extra that is missing."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        try:
            command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            raise missing(error, f"tidegate {cmd_name}") from error
        assert isinstance(command, click.Command)  # noqa: S101 - the table is ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        """Write the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])


def missing(error: ModuleNotFoundError, what: str) -> Problem:
    """Return the problem that a missing package is: which extra brings it."""
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    if extra is None:
        return Problem(f"{what} needs the module {error.name}, which is not installed", "install tidegate again")
    return Problem(f"{what} needs the package {package}, which is not installed", f"pip install 'tidegate[{extra}]'")


def _version() -> str:
    try:
        return version("tidegate")
    except PackageNotFoundError:
        return "unknown"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="TIDEGATE_HOME",
    default=DEFAULT,
    show_default=True,
    help="Folder with settings, keys and node files.",
)
@click.version_option(_version(), prog_name="tidegate")
@click.pass_context
def tidegate(ctx: click.Context, home: Path) -> None:
    """Safe deployments for real-time systems: canaries, judgement, automatic rollback.

    Settings are read from config.yaml in the home folder; TIDEGATE__SECTION__KEY variables override them.

    \b
    Exit codes: 0 done or promoted, 1 refused or failed, 2 usage or a faulty file, 3 rolled back, 4 no answer in time,
    5 aborted, 6 superseded, 130 interrupted, 141 nobody reads the output any more.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    ctx.obj = Home(home)
    configure(LogSettings(level="warning", format="console"), sys.stderr)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. Expected failures are two lines on standard error, never a traceback."""
    try:
        result = tidegate.main(list(arguments), prog_name="tidegate", standalone_mode=False)
    except Problem as error:
        return _fail(error.what, error.remedy, error.code, error.details)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "tidegate"
        return _fail(error.format_message(), f"see: {where} --help", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), "", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except NobodyReads:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return 128 + signal.SIGPIPE
    except Malformed as error:
        return _fail(f"this cannot be signed: {error}", "say it otherwise; nothing was sent", 2)
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}", "look at the path, its permissions and the room on its disk", 1)
    return result if isinstance(result, int) else 0


def _reader_has_gone() -> bool:
    output = select.poll()
    output.register(STDOUT, 0)  # asked for nothing: that the other end is gone is always told
    return any(event & select.POLLERR for _, event in output.poll(0))


def _fail(what: str, remedy: str, code: int, details: tuple[str, ...] = ()) -> int:
    click.echo(click.style("error: ", fg="red", bold=True) + what, err=True)
    for line in details:
        click.echo(f"  {line}", err=True)
    if remedy:
        click.echo(f"  do: {remedy}", err=True)
    return code
