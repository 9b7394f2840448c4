"""``tidegate alarm`` and ``tidegate silence`` against the real decision agent on a log in memory."""

import asyncio
import time

import pytest
import yaml
from tests.alarms.kit import alarm as made
from tests.alarms.kit import over
from tests.cli.kit import World

from tidegate.cli.session import Exit
from tidegate.runtime.keys import make_key
from tidegate.wire.codec import encode
from tidegate.wire.documents import KeyRole
from tidegate.wire.judgement import Alarm, Episode, Severity


def alarm(name: str, service: str = "shop", ago_s: float = 60, **changes: object) -> Alarm:
    return made(name, service, start_ms=time.time_ns() // 1_000_000 - round(ago_s * 1_000), **changes)


def say(world: World, *alarms: Alarm) -> None:
    for one in alarms:
        asyncio.run(world.log.append("alarms", one.key, encode(one)))


@pytest.fixture
def told(world: World) -> World:
    """Two alarms fire, one is over that fired three times."""
    past = (Episode(1_000, 2_000), Episode(5_000, 6_500))
    flapped = over(alarm("clock_wrong", past=past, episodes=3), 0)
    say(world, alarm("coverage_lost", labels={"cohort": "canary"}), alarm("anomaly", "cart", severity=Severity.INFO), flapped)
    return world


def test_list_shows_what_fires_and_all_also_what_is_over(told: World) -> None:
    assert {row["key"] for row in told.type("alarm", "list", "-o", "json").json} == {
        "judge/coverage_lost/shop",
        "judge/anomaly/cart",
    }
    everything = yaml.safe_load(told.type("alarm", "list", "--all", "-o", "yaml").out)
    assert {(row["name"], row["state"], row["times"]) for row in everything} == {
        ("coverage_lost", "firing", 1),
        ("anomaly", "firing", 1),
        ("clock_wrong", "resolved", 3),
    }
    table = told.type("alarm", "list", "--service", "shop").out
    assert "coverage_lost" in table
    assert "cohort=canary" in table
    assert "anomaly" not in table


def test_history_shows_every_time_that_the_record_holds(told: World) -> None:
    rows = told.type("alarm", "history", "--name", "clock_wrong", "-o", "json").json
    assert [(row["start_ms"], row["end_ms"]) for row in rows][1:] == [(5_000, 6_500), (1_000, 2_000)]
    assert "goes on" in told.type("alarm", "history").out


def test_a_silence_is_asked_for_decided_shown_with_what_it_hides_and_ended(told: World) -> None:
    asked = told.type("silence", "add", "--service", "shop", "--label", "cohort=canary", "--for", "2h", "--reason", "new switch")
    assert (asked.code, asked.err) == (0, "")
    name = asked.out.split()[-1]
    assert "Nobody is told of alarms with service shop, cohort canary: new switch" in asked.out
    (row,) = told.type("silence", "list", "-o", "json").json
    assert (row["id"], row["reason"], list(row["hid"])) == (name, "new switch", ["judge/coverage_lost/shop"])
    assert row["until_ms"] - row["since_ms"] == pytest.approx(7_200_000, abs=60_000)
    listed = {one["key"]: one["hidden_by"] for one in told.type("alarm", "list", "-o", "json").json}
    assert listed["judge/coverage_lost/shop"].startswith(f"silence {name} of ")
    assert listed["judge/anomaly/cart"] == ""
    assert "coverage_lost/shop" in told.type("silence", "list").out

    assert told.type("silence", "end", name).code == 0
    assert told.type("silence", "list", "-o", "json").json == []
    (ended,) = told.type("silence", "list", "--all", "-o", "json").json
    assert ended["until_ms"] < row["until_ms"]
    assert list(ended["hid"]) == ["judge/coverage_lost/shop"]
    again = told.type("silence", "end", name)
    assert (again.code, "no silence" in again.out) == (Exit.FAILED, True)


def test_who_has_a_key_of_one_service_silences_that_service_and_nothing_else(world: World) -> None:
    """H1: the newest of the operator's keys that a home holds signs."""
    ci = make_key(world.folder / "ci.key")
    public = ci.public(KeyRole.OPERATOR).public
    assert world.type("keys", "add", "operator", "--id", "ci", "--subject", "svc/shop", "--public", public).code == 0
    (world.folder / "ci.key").rename(world.home.keys / "ci.key")
    mine = world.type("silence", "add", "--service", "shop", "--name", "anomaly", "--for", "2h", "--reason", "new switch")
    assert (mine.code, mine.err) == (0, "")
    name = mine.out.split()[-1]
    for options in (["--name", "rollback_happened"], ["--service", "till"], ["--label", "service=shop"]):
        refused = world.type("silence", "add", *options, "--for", "2h", "--reason", "hush")
        assert (refused.code, "counts for svc/shop only" in refused.err) == (Exit.FAILED, True)
    for arguments in (["silence", "end", name], ["fleet", "cordon", "n1"], ["rollout", "abort", "till"]):
        refused = world.type(*arguments)
        assert (refused.code, "counts for svc/shop only" in refused.err) == (Exit.FAILED, True)
    assert [row["id"] for row in world.type("silence", "list", "-o", "json").json] == [name]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--for", "2h"], Exit.FAILED, "would hide everything"),
        (["--service", "shop", "--for", "31d"], Exit.FAILED, "30 days at most"),
        (["--service", "shop", "--for", "0s"], Exit.FAILED, "over already"),
        (["--service", "shop", "--for", "soon"], Exit.USAGE, "not a duration"),
        (["--label", "cohort", "--for", "2h"], Exit.USAGE, "NAME=VALUE"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(world: World, options: list[str], code: int, says: str) -> None:
    refused = world.type("silence", "add", *options, "--reason", "x")
    assert refused.code == code
    assert says in refused.out + refused.err


def test_notify_without_targets_says_how_to_have_some(world: World) -> None:
    refused = world.type("notify")
    assert (refused.code, "names no notify.targets" in refused.err) == (2, True)


def test_up_runs_notify_where_it_has_targets(world: World) -> None:
    from tidegate.cli.up import _programs  # noqa: PLC0415 - the one look inside
    from tidegate.runtime.home import Home  # noqa: PLC0415 - likewise

    assert "notify" not in [one.name for one in _programs(world.home, [], "b:1", keep_services=False)]
    text = world.home.config.read_text()
    world.home.config.write_text(text.replace("targets: []", 'targets: [{kind: alertmanager, url: "http://a"}]'))
    programs = _programs(Home(world.home.folder, {}), [], "b:1", keep_services=False)
    assert [one.command[-1] for one in programs if one.name == "notify"] == ["notify"]
