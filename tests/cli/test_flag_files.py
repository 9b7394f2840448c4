"""``tidegate flag import`` and ``export``: flagd's own files in and out."""

import json
from typing import Any

import pytest
from tests.cli.kit import World

from tidegate.cli import flag_batch, flag_import
from tidegate.cli.session import Exit
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision


def flag(default: str | None = "on", **fields: Any) -> dict[str, Any]:
    return {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": default} | fields


STAFF = {"ends_with": [{"var": "email"}, "@example.com"]}
FILE = {
    "$evaluators": {"staff": STAFF},
    "metadata": {"version": "7"},
    "flags": {"dark": flag(targeting={"if": [{"$ref": "staff"}, "on", "off"]}), "light": flag("off")},
}


def write(world: World, content: object, name: str = "flags.json") -> str:
    return world.plan(json.dumps(content), name)


def load(world: World, path: str, *options: str, how: tuple[str, ...] = ("--immediate",)) -> Any:
    done = world.type("flag", "import", path, "--set", "web", *how, "--reason", "from flagd", "-o", "json", *options)
    return done.code, {row["flag"]: row["outcome"] for row in done.json} if done.out else {}, done.err


def test_a_file_is_imported_flag_by_flag_and_exported_as_it_is_published(world: World) -> None:
    path = write(world, FILE)
    code, rows, _ = load(world, path, "--dry-run")
    assert (code, set(rows.values())) == (0, {"would be set"})
    assert not world.log.topic("intents")
    code, rows, _ = load(world, path)
    assert (code, list(rows)) == (0, ["web/$metadata", "web/$evaluators", "web/dark", "web/light"])
    assert set(rows.values()) == {"set"}
    out = world.folder / "out.json"
    assert world.type("flag", "export", "--set", "web", "-o", str(out)).code == 0
    found = json.loads(out.read_text())
    assert found.pop("$schema").startswith("https://flagd.dev/schema/")
    assert found == FILE
    code, rows, _ = load(world, str(out))
    assert (code, set(rows.values())) == (0, {"unchanged"})
    assert len(world.log.topic("intents")) == 4


def test_a_kill_is_exported_and_an_import_of_what_was_set_leaves_it_killed(world: World) -> None:
    path = write(world, FILE)
    load(world, path)
    world.type("flag", "kill", "web/light", "--reason", "it burns")
    assert load(world, path)[1]["web/light"] == "unchanged"
    exported = world.type("flag", "export", "--set", "web").json["flags"]["light"]
    assert exported["metadata"] == {"killed": True}
    again = write(world, {"flags": {"fresh": exported}})
    load(world, again)
    assert "metadata" not in world.type("flag", "export", "--set", "web").json["flags"]["fresh"], "it was never killed"
    told = world.type("flag", "export", "--set", "web", "--output", "yaml").out
    assert "killed: true" in told


def test_a_refusal_stops_no_other_flag(world: World) -> None:
    load(world, write(world, FILE))
    world.type("flag", "archive", "web/dark", "--reason", "done")
    changed = FILE | {"flags": {"dark": flag(), "light": flag("on"), "new": flag("off")}}
    done = world.type("flag", "import", write(world, changed), "--set", "web", "--immediate", "--reason", "again")
    assert done.code == Exit.FAILED
    assert "never used again" in done.out
    assert done.out.splitlines()[-1] == "1 refused, 2 set, 2 unchanged"


def test_guarded_flags_come_by_the_stages_of_a_ramp(world: World) -> None:
    ramp = world.plan("ramp: {stages: [{setWeight: 5, bake: 1h}, {setWeight: 100}]}", "ramp.yaml")
    how = ("--guard", "shop", "--ramp", ramp, "--safe-variant", "off")
    code, rows, _ = load(world, write(world, {"flags": {"dark": flag()}}), how=how)
    assert (code, rows) == (0, {"web/dark": "set"})
    (row,) = world.type("flag", "list", "-o", "json").json
    assert (row["state"], row["safe_variant"], row["guard"]) == ("ramping 5 %, stage 1/2", "off", ["shop"])


def many(count: int) -> dict[str, Any]:
    return {"flags": {f"f{number}": flag() for number in range(count)}}


def test_one_that_ended_early_says_of_each_flag_what_became_of_it_and_the_same_again_does_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, most = write(world, many(60)), flag_batch.UNDER_WAY_MAX
    monkeypatch.setattr(flag_batch, "ANSWER_WITHIN_S", 0.2)
    world.deciding = False
    code, rows, err = load(world, path)
    assert (code, f"{most} intents are under way" in err) == (Exit.TIMEOUT, True)
    assert list(rows.values()) == ["no answer"] * most + ["not sent"] * (60 - most)
    assert len(world.log.topic("intents")) == most
    monkeypatch.undo()
    monkeypatch.setattr("tidegate.cli.session.open_log", world.open_log)
    world.deciding = True
    code, rows, _ = load(world, path)
    assert (code, set(rows.values())) == (0, {"set", "unchanged"})
    found = [decode(record.value or b"", Decision) for record in world.log.topic("decisions")]
    assert [one.generation for one in found if one.flag is not None] == [1] * 60
    assert set(load(world, path)[1].values()) == {"unchanged"}


def test_progress_is_told_where_it_takes_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(world, write(world, many(3)))[2] == ""
    monkeypatch.setattr(flag_import, "PROGRESS_EVERY_S", 0.0)
    assert load(world, write(world, {"flags": {"a": flag(), "b": flag(), "c": flag()}}))[2].split("\n") == [
        "1 of 3",
        "2 of 3",
        "",
    ]


WRONG: list[tuple[Any, tuple[str, ...], str]] = [
    ({"flags": {"dark": flag("dim")}}, ("--immediate",), "flags.dark.defaultVariant: 'dim' is none of the variants"),
    ({"flags": {"a b": flag()}}, ("--immediate",), "flags.a b: a flag's key has letters"),
    ({"flags": {"dark": flag(targeting={"$ref": "staff"})}}, ("--immediate",), "flags.dark.targeting"),
    ({"flags": {}, "$evaluators": {"a": {"$ref": "a"}}}, ("--immediate",), "$evaluators.a: references go in a circle"),
    ({"flags": {}, "metadata": {"bucketing": "v9"}}, ("--immediate",), "metadata.bucketing: 'v9' is not known"),
    ({"flag": {}}, ("--immediate",), "flags: is missing"),
    ({"flags": {"dark": flag()}}, (), "flags.dark.(--immediate or --guard): give a guard"),
    ({"flags": {"dark": flag(None)}}, ("--immediate",), "flags.dark.(--safe-variant): is missing"),
    ({"flags": {"dark": flag()}}, ("--immediate", "--guard", "shop"), "--immediate means no guard"),
]


@pytest.mark.parametrize(("content", "how", "told"), WRONG, ids=range(len(WRONG)))
def test_every_fault_of_a_file_is_named_and_nothing_is_sent(world: World, content: Any, how: tuple[str, ...], told: str) -> None:
    code, rows, err = load(world, write(world, content), how=how)
    assert (code, rows) == (Exit.USAGE, {})
    assert told in err
    assert not world.log.topic("intents")


def test_an_export_of_nothing_and_to_nowhere_are_told(world: World) -> None:
    assert "nothing is published of the set web" in world.type("flag", "export", "--set", "web").err
    load(world, write(world, FILE))
    nowhere = world.type("flag", "export", "--set", "web", "-o", str(world.folder / "no" / "flags.json"))
    assert (nowhere.code, "is no folder" in nowhere.err) == (Exit.USAGE, True)
