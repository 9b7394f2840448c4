"""``tidegate flag eval``: what one user gets by what is published now, and why."""

import time
from typing import Any

import click
import msgspec

from tidegate.cli.connect import run
from tidegate.cli.flag_ask import flag_argument
from tidegate.cli.flag_published import Published, read_published
from tidegate.cli.output import Format, dump, format_option, table
from tidegate.cli.session import Exit, session
from tidegate.flags.evaluate import Asked, Resolution, evaluate
from tidegate.flags.explain import Explanation, explain
from tidegate.flags.store import FlagSet
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode_strict
from tidegate.wire.flags import EvaluationReason, Kind, TopicKey

EXAMPLE = '{"targetingKey": "u1"}'


@click.command(name="eval")
@flag_argument
@click.option("--context", default="{}", metavar="JSON", help=f"Who asks, as in '{EXAMPLE}'.")
@click.option("--type", "kind", type=click.Choice([str(one) for one in Kind]), help="What the caller can take; none: any type.")
@click.option("--explain", "traced", is_flag=True, help="Tell every operation that led there, rule by rule.")
@format_option
@click.pass_obj
def eval_(home: Home, flag: TopicKey, context: str, kind: str | None, traced: bool, form: Format) -> int:
    """Evaluate SET/FLAG for one user by the definition that services see now.

    Exit code 1 where the evaluation ends in an error: callers get their own default then.
    """
    asked = Asked(context=_context(context), now_s=int(time.time()), kind=Kind(kind) if kind else None)
    published = run(_read(home, flag.set_id))
    how = explain if traced else _untraced
    found = how(published.flags, flag.name, asked)
    if form != "table":
        dump(found if traced else found.resolution, form)
    else:
        click.echo("\n".join(lines(flag, found, traced=traced)))
    if published.refused:
        click.echo(f"{published.refused} records of {flag.set_id} do not count: nobody entitled stands for them", err=True)
    return Exit.FAILED if found.resolution.reason is EvaluationReason.ERROR else Exit.OK


def lines(key: TopicKey, found: Explanation, *, traced: bool) -> list[str]:
    """Return what a user gets, and the operations in the order in which they were done, as lines of plain text."""
    one = found.resolution
    told = [f"{key}: {_got(one)}   {one.reason}"]
    if one.error_code is not None:
        told.append(f"  {one.error_code}: {one.error_message}")
    if one.metadata:
        told.append(f"  metadata: {', '.join(f'{name} {_json(value)}' for name, value in one.metadata.items())}")
    if not traced:
        return told
    if not found.steps:
        told.append("  no rule was evaluated")
    told += [f"  {line}" for line in table([msgspec.to_builtins(step) for step in found.steps])]
    return told + ([f"  and {found.more} operations more"] if found.more else [])


def _untraced(flags: FlagSet, key: str, asked: Asked) -> Explanation:
    return Explanation(evaluate(flags, key, asked))


async def _read(home: Home, set_id: str) -> Published:
    async with session(home, topics=("keys",)) as here:
        return await read_published(here, set_id)


def _got(one: Resolution) -> str:
    return "the caller's own default" if one.variant is None else f"{one.variant} = {_json(one.value)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _context(text: str) -> dict[str, Any]:
    try:
        return decode_strict(text.encode(), dict[str, Any])
    except Malformed as fault:
        raise Problem(f"--context: {fault}", f"give a JSON object, as in --context '{EXAMPLE}'", code=2) from fault
