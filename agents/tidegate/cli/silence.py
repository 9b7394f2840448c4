"""``tidegate silence``: signed intents that hide alarms for a while, and what they hid (I1)."""

import time
from collections.abc import Iterator, Mapping

import click

from tidegate.cli.connect import run
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.rollout_ask import answer, ask, send
from tidegate.cli.session import session
from tidegate.cli.tell import clock
from tidegate.cli.words import ServiceType, reason_option
from tidegate.model import Model
from tidegate.model.alarms import Held, held_silences, silence_row
from tidegate.model.asked import EVERYTHING, silenced
from tidegate.rollout.silences import shown
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.documents import Hush, Verb
from tidegate.wire.judgement import Episode
from tidegate.wire.names import duration_ms


@click.group()
def silence() -> None:
    """Tell nobody of some alarms for a while. Silences hide; what blocks an advance goes on blocking it."""


@silence.command()
@click.option("--service", type=ServiceType(), default="", help="Alarms of this service.")
@click.option("--name", default="", help="Alarms of this kind.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Alarms with this label; may be repeated.")
@click.option("--for", "length", required=True, metavar="DURATION", help="How long, as in 2h; 30d at most.")
@reason_option(required=True)
@format_option
@click.pass_obj
def add(home: Home, service: str, name: str, labels: tuple[str, ...], length: str, reason: str, form: Format) -> int:
    """Hide the alarms that have everything that is named here."""
    pairs = dict(_pair(text) for text in labels)
    try:
        length_ms = duration_ms(length)
    except ValueError as error:
        raise Problem(f"--for: {error}", "see: tidegate silence add --help", code=2) from error
    hush = Hush(service=service, name=name, labels=pairs, until_ms=_now_ms() + length_ms)
    told = run(send(home, silenced(hush), Verb.SILENCE, reason, hush=hush))
    code = answer(told, form)
    if form == "table" and told.decision.silences:
        name = told.decision.silences[-1].id
        click.echo(f"silence {name}; end it with: tidegate silence end {name}")
    return code


@silence.command()
@click.argument("silence_id", metavar="ID")
@reason_option(default="")
@format_option
@click.pass_obj
def end(home: Home, silence_id: str, reason: str, form: Format) -> int:
    """End a silence before its time."""
    return ask(home, EVERYTHING, Verb.UNSILENCE, target=silence_id, reason=reason, form=form)


@silence.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@format_option
@click.pass_obj
def list_(home: Home, everything: bool, form: Format) -> None:
    """List silences with what each has hidden."""
    model = run(_read(home))
    now_ms = _now_ms()
    found = [one for one in held_silences(model) if everything or one.until_ms > now_ms]
    show([_row(one, model, now_ms, form) for one in found], form, empty="no silence holds")


async def _read(home: Home) -> Model:
    async with session(home, topics=("decisions", "alarms")) as here:
        return here.model


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found):
        raise Problem(f"--label {text!r} is no NAME=VALUE", "write it as in cohort=canary", code=2)
    return name, value


def _row(one: Held, model: Model, now_ms: int, form: Format) -> dict[str, object]:
    found = silence_row(one, model, now_ms)
    asked, hid = one.silence, found.hid
    if form != "table":
        return {
            "id": asked.id,
            "hush": asked.hush,
            "since_ms": asked.since_ms,
            "until_ms": one.until_ms,
            "actor": asked.actor,
            "reason": asked.reason,
            "hid": {key: [[episode.start_ms, episode.end_ms] for episode in times] for key, times in hid.items()},
        }
    return {
        "id": asked.id,
        "hides": shown(asked.hush).removeprefix("alarms with "),
        "until": f"{time.strftime('%Y-%m-%d', time.localtime(one.until_ms / 1000))} {clock(one.until_ms)}",
        "by": asked.actor,
        "reason": asked.reason,
        "hid": "; ".join(_hid(hid)) or "nothing",
    }


def _hid(hid: Mapping[str, tuple[Episode, ...]]) -> Iterator[str]:
    for key, times in hid.items():
        name = key.partition("/")[2]
        yield name if len(times) == 1 else f"{name} ({len(times)} times)"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
