"""``tidegate flag list | show``: how flags stand, what is wanted of one, and what is published of it."""

import time
from typing import Any

import click
import msgspec
import yaml
from msgspec import Struct

from tidegate.cli.connect import run
from tidegate.cli.flag_ask import FlagType
from tidegate.cli.flag_published import read_published
from tidegate.cli.flag_tell import gets, lines, standing
from tidegate.cli.output import Format, dump, format_option, show
from tidegate.cli.session import session
from tidegate.cli.tell import clock
from tidegate.model import FlagSummary, Model, flag_summary
from tidegate.model.flags import by_number
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import encode
from tidegate.wire.flags import TopicKey
from tidegate.wire.flagstates import FlagState


@click.command(name="list")
@click.argument("set_id", metavar="[SET]", required=False)
@format_option
@click.pass_obj
def list_(home: Home, set_id: str | None, form: Format) -> None:
    """List the flags of every set, or of SET: how each stands, what it falls back to, and who made it so."""
    rows = run(_rows(home, set_id, form))
    show(rows, form, empty="there is no flag yet; next: tidegate flag set SET/FLAG -f FILE")


async def _rows(home: Home, set_id: str | None, form: Format) -> list[dict[str, object]]:
    now_ms = time.time_ns() // 1_000_000
    async with session(home, topics=("decisions",)) as here:
        model, told = here.model, by_number(here.model)
        states = [state for _, state in sorted(model.ledger.flags.items()) if set_id in (None, state.key.set_id)]
        return [_row(flag_summary(model, state, now_ms, told), state, form) for state in states]


def _row(one: FlagSummary, state: FlagState, form: Format) -> dict[str, object]:
    if form != "table":
        return _plain(one, state)
    date = time.strftime("%Y-%m-%d", time.localtime(one.at_ms / 1000))
    return {
        "flag": one.flag,
        "state": standing(one),
        "safe": one.safe_variant,
        "by": one.actor or "its rules",
        "since": f"{date} {clock(one.at_ms)[:8]}",
        "why": one.why,
    }


class Shown(Struct, frozen=True, kw_only=True):
    """One flag: where it stands, the file that would set it so, and the definition on the topic; None where there is none."""

    summary: dict[str, object]
    wanted: dict[str, Any]
    published: Any


@click.command(name="show")
@click.argument("flag", type=FlagType(beside=True), metavar="SET/FLAG")
@click.option("--file", "as_file", is_flag=True, help="Print only what was set, as a file for `flag set`.")
@format_option
@click.pass_obj
def show_(home: Home, flag: TopicKey, as_file: bool, form: Format) -> None:
    """Show SET/FLAG: where it stands, what was set, and the definition that services see."""
    if not flag.is_flag:
        dump(run(_beside(home, flag)), "yaml" if form == "table" else form)
        return
    now_ms = time.time_ns() // 1_000_000
    one, state, value = run(_read(home, flag, now_ms))
    published = None if value is None else msgspec.json.decode(value)
    shown = Shown(summary=_plain(one, state), wanted=wanted(state), published=published)
    if as_file:
        dump(shown.wanted, "yaml" if form == "table" else form)
    elif form != "table":
        dump(shown, form)
    else:
        text = yaml.safe_dump(shown.wanted, sort_keys=False, allow_unicode=True).rstrip()
        seen = value.decode() if value is not None else "nothing yet"
        click.echo("\n".join([*lines(one, state, now_ms), "", text, "", f"published: {seen}"]))


async def _read(home: Home, key: TopicKey, now_ms: int) -> tuple[FlagSummary, FlagState, bytes | None]:
    async with session(home) as here:
        state = known(here.model, key)
        value = (await read_published(here, key.set_id)).values.get(key.name)
        return flag_summary(here.model, state, now_ms), state, value


async def _beside(home: Home, key: TopicKey) -> Any:
    async with session(home, topics=("decisions",)) as here:
        shared = here.model.ledger.flag_sets.get(key.subject)
        return {} if shared is None else msgspec.json.decode(shared.value)


def known(model: Model, key: TopicKey) -> FlagState:
    """Return what was decided about a flag. Problem where there is none of that name."""
    state = model.ledger.flags.get(key.subject)
    if state is None:
        raise Problem(f"there is no flag {key}", "see: tidegate flag list; make one: tidegate flag set")
    return state


def wanted(state: FlagState) -> dict[str, Any]:
    """Return what would set a flag as it was set last, in the words of a file."""
    found: dict[str, Any] = msgspec.json.decode(encode(state.spec))
    ramp = {"ramp": msgspec.to_builtins(state.ramp)} if state.ramp is not None else {}
    return {"spec": found, **ramp}


def _plain(one: FlagSummary, state: FlagState) -> dict[str, object]:
    return {"state": standing(one), "gets": gets(state), **msgspec.to_builtins(one)}
