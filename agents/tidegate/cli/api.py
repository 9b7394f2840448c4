"""``tidegate api``: serves flags; and the tokens that open it."""

import asyncio
import logging
import sys
import time

import click
import structlog
from prometheus_client import REGISTRY

from tidegate.api import Board, Control, Metrics, Mirror, Tokens, flags_served
from tidegate.api.metrics_kpis import KpiMetrics
from tidegate.api.metrics_rollouts import RolloutMetrics
from tidegate.api.roles import Role
from tidegate.api.tokens import FILE, Grant, Token, make_token, read_tokens, revoke_token
from tidegate.broker import KafkaLog
from tidegate.cli.connect import connection
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.rollout_start import DurationType
from tidegate.console import files
from tidegate.ports import SystemClock, SystemDisk
from tidegate.runtime.home import Home
from tidegate.runtime.logs import configure
from tidegate.runtime.problem import Problem
from tidegate.runtime.serve import serving
from tidegate.runtime.settings import ApiSettings
from tidegate.runtime.stopping import run_until, stop_signals
from tidegate.wire.documents import KeyRole
from tidegate.wire.envelope import Signs

log_of_api = structlog.wrap_logger(logging.getLogger("tidegate.api"))


@click.group(invoke_without_command=True)
@click.pass_context
def api(ctx: click.Context) -> None:
    """Serve flags (OFREP over HTTP at api.port, flagd's sync over gRPC at api.sync of config.yaml) and the control API.

    The control API is under /api/v1 at api.port. `tidegate up` runs it too, where config.yaml has the section api. Without any
    token only this machine is served, and nothing can be asked for. Metrics and health are at http.api; while no broker answers,
    health says how old the flags are. See docs/api.md.
    """
    if ctx.invoked_subcommand is None:
        home: Home = ctx.obj
        configure(home.settings.log, sys.stderr, role="api")
        asyncio.run(_run(home))


@api.command()
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="SET", help="Let it ask for flags of this set alone; may be repeated.")
@click.option("--role", type=click.Choice([str(one) for one in Role]), help="Open the control API to it; none: flags alone.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="PATTERN[:RIGHT,...]",
    help="As in shop-*:pause,abort or flag/web/*; may be repeated.",
)
@click.option("--expires", "lasts_ms", type=DurationType(), help="End it after so long, as in 30d.")
@click.pass_obj
def token(home: Home, name: str, sets: tuple[str, ...], role: str | None, scopes: tuple[str, ...], lasts_ms: int | None) -> None:
    """Make a token and print it, once: only its digest is kept. Its NAME stands in every decision that it asks for.

    \b
    Roles: viewer reads; operator also starts, pauses, resumes, promotes, aborts, undoes, sets and kills flags, and silences;
    approver reads and approves; admin may do everything, also lift quarantines; alerts posts
    alerts of Alertmanager and does nothing else.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    home.settings  # noqa: B018 - refuse a folder that is no home
    expires_ms = 0 if lasts_ms is None else SystemClock().now_ms() + lasts_ms
    grant = Grant(role=Role(role) if role else None, scopes=scopes, expires_ms=expires_ms)
    click.echo(make_token(home.folder / FILE, name, sets, grant))


@api.command()
@format_option
@click.pass_obj
def tokens(home: Home, form: Format) -> None:
    """List the tokens by their names, with what each is for."""
    rows = [_row(one) for one in read_tokens(home.folder / FILE)]
    show(rows, form, empty="no token: only this machine is served")


@api.command()
@click.argument("name")
@click.pass_obj
def revoke(home: Home, name: str) -> None:
    """End a token; a server that runs hears of it within a second."""
    revoke_token(home.folder / FILE, name)
    click.echo(f"token {name} is revoked")


def _row(one: Token) -> dict[str, object]:
    return {
        "name": one.name,
        "sets": list(one.sets) or ["all"],
        "role": one.role.value if one.role is not None else "",
        "scopes": list(one.scopes),
        "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.expires_ms / 1000)) if one.expires_ms else "",
    }


def _signer(home: Home) -> Signs | None:
    """Return what signs intents; None, said in the log, where this home holds no key for it."""
    try:
        return home.signer(KeyRole.API)
    except Problem as problem:
        log_of_api.warning("the control API only reads and hands on plans", problem=str(problem), remedy=problem.remedy)
        return None


async def _run(home: Home) -> None:
    stop = stop_signals()
    settings = home.settings.api or ApiSettings()
    clock = SystemClock()
    known = Tokens(home.folder / FILE, clock)
    log = KafkaLog(connection(home, "api"), client_id="api")
    board = Board(log, clock, home.trust, SystemDisk(home.state / "api"))
    metrics = Metrics(REGISTRY, board)
    mirror = Mirror(log, clock, home.trust)
    control = Control(mirror, log, clock, _signer(home), REGISTRY, alerts=settings.alerts)
    REGISTRY.register(KpiMetrics(mirror.measured, clock.now_ms))
    REGISTRY.register(RolloutMetrics(mirror))
    try:
        async with (
            flags_served(board, metrics, known, settings, control, pages=files()) as served,
            serving(
                home.settings.http.host,
                home.settings.http.api,
                board.not_ready,
                note=lambda: "; ".join(filter(None, (board.note(), _unread(mirror)))),
                also=(
                    f"OFREP {served.url}",
                    f"flagd's sync {served.sync}",
                    f"control API {served.url}/api/v1",
                    f"console {served.url}/",
                ),
            ),
        ):
            following = asyncio.ensure_future(_follow(board, control))

            async def end() -> None:
                following.cancel()

            await run_until(stop, _ended(following), end)
    finally:
        await log.close()


def _unread(mirror: Mirror) -> str:
    why = mirror.not_ready()
    return f"control API: {why}" if why else ""


async def _follow(board: Board, control: Control) -> None:
    """Keep everything up to date, for ever."""
    await asyncio.gather(board.follow(), control.mirror.follow(), control.alerts.tidy())


async def _ended(following: asyncio.Future[None]) -> None:
    """Return when it was cancelled; raise what it raised."""
    await asyncio.wait([following])
    if not following.cancelled():
        following.result()
