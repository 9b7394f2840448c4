"""People are told by the real library, over real sockets: its own JSON receiver stands for chat and mail."""

import builtins
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.alarms.kit import alarm as made
from tests.notify.kit import CONSOLE, Plant
from tests.notify.server import Receiver, receiving, until

from tidegate.alarms.notices import Notice, Policy
from tidegate.notify import Place, build, desk
from tidegate.notify.targets.apprise import NAMED_MAX, body
from tidegate.runtime.problem import Problem
from tidegate.wire.judgement import Alarm, AlarmState, Severity

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""The library looks through all its services at the first address."""

NOW_MS = 1_700_000_100_000


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def people(folder: Path, url: str, name: str = "chat") -> dict[str, Any]:
    path = folder / f"{name}.url"
    path.write_text(url + "\n")
    path.chmod(0o600)
    return {"kind": "apprise", "name": name, "url": f"file:{path.name}"}


def address(receiver: Receiver) -> str:
    return f"json://user:do-not-tell@127.0.0.1:{receiver.port}/hook/do-not-tell"


def alarm(which: str = "", severity: Severity = Severity.WARNING) -> Alarm:
    return made(which=which, start_ms=time.time_ns() // 1_000_000, severity=severity)


def over(one: Alarm) -> Alarm:
    return replace(one, state=AlarmState.RESOLVED, end_ms=one.start_ms + 61_000)


async def test_it_tells_what_fires_how_loud_and_where_to_look_and_that_it_is_over(plant: Plant) -> None:
    one = alarm("n1", Severity.CRITICAL)
    with receiving() as receiver:
        async with plant.notify(people(plant.folder, address(receiver))):
            await plant.say(one, alarm("n2"))
            await until(lambda: receiver.taken)
            await plant.say(over(one))
            await until(lambda: len(receiver.taken) == 2)
            assert plant.metric("tidegate_notify_notices_total", target="chat", outcome="taken") == 2
    first, second = receiver.taken
    assert (first["type"], first["title"]) == ("failure", "coverage_lost of shop (2 alarms): coverage_lost of shop n1")
    assert [line.partition(" (since")[0] for line in first["message"].splitlines()] == [
        "[critical] coverage_lost of shop n1",
        "[warning] coverage_lost of shop n2",
        f"{CONSOLE}/#/rollouts/shop",
    ]
    assert second["type"] == "warning"
    assert "over after 1 min 1 s" in second["message"]


async def test_what_is_not_taken_is_told_again_and_no_log_line_holds_the_address(
    plant: Plant, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.05)
    caplog.set_level(logging.DEBUG)
    with receiving() as receiver:
        receiver.answers = [500, 403]
        async with plant.notify(people(plant.folder, address(receiver))):
            await plant.say(alarm("n1"))
            await until(lambda: receiver.taken)
    assert [status for *_, status in receiver.posts] == [500, 403, 200]
    said = caplog.text + "".join(capsys.readouterr())
    assert "a target does not take notices" in said
    assert "do-not-tell" not in said


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("carrier-pigeon://somewhere/do-not-tell", "apprise knows no such address"),
        ("slack://do-not-tell", "apprise knows no such address"),
        ("", "is empty"),
    ],
)
def test_an_address_that_is_none_is_refused_and_not_told(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(Problem, match=told) as refused:
        build([people(tmp_path, url)], Policy(), Place(tmp_path))
    assert "do-not-tell" not in f"{refused.value} {refused.value.remedy}"


def test_an_address_in_the_settings_themselves_is_refused(tmp_path: Path) -> None:
    entry = {"kind": "apprise", "name": "chat", "url": "json://127.0.0.1/do-not-tell"}
    with pytest.raises(Problem, match="never as itself"):
        build([entry], Policy(), Place(tmp_path))


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *rest: Any, **options: Any) -> Any:
        if name == "apprise":
            raise ImportError(name)
        return found(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(Problem) as refused:
        build([people(tmp_path, "json://127.0.0.1")], Policy(), Place(tmp_path))
    assert refused.value.remedy == "pip install 'tidegate[people]'"


def test_a_storm_names_some_and_counts_the_rest() -> None:
    firing = tuple(made(which=f"n{number}", start_ms=NOW_MS - 9_000) for number in range(50))
    lines = body(Notice(group="g", firing=firing, over=(), hidden=3), "", NOW_MS).splitlines()
    assert lines[0] == "[warning] coverage_lost of shop n0 (since 2023-11-14 22:14:51 UTC, for 9 s)"
    assert lines[NAMED_MAX:] == ["and 30 more", "3 more are silenced or explained by a rollback"]
