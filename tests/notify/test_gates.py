"""Outgoing gates, with real commands and real sockets; answers as signed intents on a log (I2)."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.node.kit import until
from tests.notify.house import SIGNER, TRUST, House, question, waiting
from tests.notify.kit import SECRET
from tests.notify.rough import DRIPS, TORN, rough
from tests.notify.server import Receiver, receiving

from tidegate.notify import Gatekeeper, build_gates, web
from tidegate.notify.gates import Answer, Gate, Says
from tidegate.ports import SystemClock
from tidegate.rollout.outgoing import OpenGate, open_gates
from tidegate.runtime.problem import Problem
from tidegate.wire.documents import Verb
from tidegate.world import MemoryLog


def command(folder: Path, program: str, **options: str) -> Gate:
    gates = [{"kind": "command", "name": "load-test", "command": [sys.executable, "-c", program], **options}]
    (found,) = build_gates(gates, folder)
    return found


READS = "import json, sys; q = json.load(sys.stdin); print('noise'); print(q['service'], q['version'], q['canaries']); "


@pytest.mark.parametrize(
    ("program", "says", "reason"),
    [
        (READS, Says.PASS, "shop 2 ['n"),
        (READS + "sys.exit(2)", Says.FAIL, "shop 2 ['n"),
        (READS + "sys.exit(1)", Says.UNDECIDED, "exit code 1: shop 2"),
        ("raise RuntimeError('broken')", Says.UNDECIDED, "exit code 1: RuntimeError: broken"),
        ("import os; os.kill(os.getpid(), 9)", Says.UNDECIDED, "exit code -9"),
        ("import sys; sys.stdin.close()", Says.PASS, ""),
    ],
)
async def test_a_commands_exit_code_answers_and_what_breaks_decides_nothing(tmp_path, program, says, reason):
    answer = await command(tmp_path, program).ask(question(), 0)
    assert answer.says is says
    assert answer.reason.startswith(reason)


async def test_a_command_that_does_not_end_is_ended_with_what_it_started(tmp_path):
    pid = tmp_path / "child"
    program = f"""
import subprocess, time
child = subprocess.Popen(["sleep", "600"])
open({str(pid)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    answer = await command(tmp_path, program, within="1s").ask(question(), 0)
    assert (answer.says, answer.reason) == (Says.UNDECIDED, "no answer within 1 s")
    await until(lambda: not running(int(pid.read_text())))  # it has its signal by now, and a busy machine takes its time


def running(pid: int) -> bool:
    """Return whether a process is there and no zombie that nobody has taken note of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


SLEEPS = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"


async def test_a_command_whose_question_closes_is_ended_with_what_it_started(tmp_path):
    house, gate, pid = House(), command(tmp_path, SLEEPS), tmp_path / "pid"
    async with house.alone(gate) as keeper:
        keeper.show([question()])
        await until(lambda: pid.exists() and pid.read_text())
        keeper.show([])
        await until(lambda: not running(int(pid.read_text())))


async def test_at_the_end_of_the_process_no_command_is_left(tmp_path):
    pid = tmp_path / "pid"
    async with House().keeper(command(tmp_path, SLEEPS)):
        await until(lambda: pid.exists() and pid.read_text())
    assert not running(int(pid.read_text()))


async def test_a_command_that_is_not_there_decides_nothing(tmp_path):
    (gate,) = build_gates([{"kind": "command", "name": "g", "command": ["./none"]}], tmp_path)
    assert (await gate.ask(question(), 0)).says is Says.UNDECIDED


def webhook(folder: Path, url: str) -> Gate:
    secret = folder / "hook.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    (gate,) = build_gates([{"kind": "webhook", "name": "load-test", "url": url, "secret": "file:hook.secret"}], folder)
    return gate


@contextlib.asynccontextmanager
async def hook(folder: Path) -> AsyncIterator[tuple[Gate, Receiver]]:
    with receiving() as receiver:
        yield webhook(folder, receiver.url), receiver


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, b'{"verdict": "pass", "reason": "p95 is 80 ms", "more": 1}', Answer(Says.PASS, "p95 is 80 ms")),
        (201, b'{"verdict": "fail"}', Answer(Says.FAIL, "")),
        (200, b'{"verdict": "undecided"}', Answer(Says.UNDECIDED, "")),
        (200, b'{"verdict": "yes"}', None),
        (200, b"", None),
        (500, b'{"verdict": "fail"}', None),
        (302, b'{"verdict": "fail"}', None),
    ],
)
async def test_a_webhooks_verdict_answers_and_nothing_else_decides(tmp_path, status, body, answer):
    async with hook(tmp_path) as (gate, receiver):
        receiver.answers, receiver.says = [status], body
        found = await gate.ask(question(), 1_700_000_000_000)
        assert found == answer if answer else found.says is Says.UNDECIDED
        (_, headers, sent, _) = receiver.posts[0]
        assert headers["webhook-signature"].startswith("v1,")
        assert b'"gate":"load-test"' in sent


@pytest.mark.parametrize("act", TORN.values(), ids=TORN)
async def test_a_webhook_that_tears_its_answer_decides_nothing(tmp_path, act):
    with rough(act) as server:
        found = await webhook(tmp_path, server.url).ask(question(), 0)
    assert (found.says, "do-not-tell" in found.reason) == (Says.UNDECIDED, False)


@pytest.mark.parametrize("act", DRIPS.values(), ids=DRIPS)
async def test_a_webhook_that_never_ends_its_answer_decides_nothing_at_the_deadline(tmp_path, act, monkeypatch):
    monkeypatch.setattr(web, "WITHIN_S", 0.2)
    with rough(act) as server:
        found = await webhook(tmp_path, server.url).ask(question(), 0)
    assert found.says is Says.UNDECIDED


async def test_a_webhook_whose_question_closes_is_hung_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "WITHIN_S", 3_600.0)
    with rough(DRIPS["a body"]) as server:
        async with House().alone(webhook(tmp_path, server.url)) as keeper:
            keeper.show([question()])
            await until(server.dripping.is_set)
            keeper.show([])
            await until(server.left.is_set)


@pytest.mark.parametrize(
    ("entry", "at"),
    [
        ({"kind": "oracle", "name": "g"}, "notify.gates[0].kind"),
        ({"kind": "command", "name": "g"}, "notify.gates[0].command"),
        ({"kind": "command", "name": "g", "command": ["x"], "within": "soon"}, "notify.gates[0].within"),
    ],
)
def test_a_faulty_gate_is_told_with_its_path(tmp_path, entry, at):
    with pytest.raises(Problem) as raised:
        build_gates([entry], tmp_path)
    assert at in raised.value.what


class Scripted:
    """A gate that gives its answers in turn, the last one for ever."""

    name = "load-test"
    every_s = 0.02

    def __init__(self, *answers: Answer) -> None:
        self.answers = [*answers]
        self.asked: list[OpenGate] = []
        self.was_asked = asyncio.Event()
        self.held = asyncio.Event()
        self.held.set()

    async def ask(self, question: OpenGate, now_ms: int) -> Answer:
        assert now_ms
        self.asked.append(question)
        self.was_asked.set()
        await self.held.wait()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(("says", "verb"), [(Says.PASS, Verb.PROMOTE), (Says.FAIL, Verb.ABORT)])
async def test_an_answer_becomes_one_signed_intent_of_the_generation_that_was_asked(says, verb):
    house, gate = House(), Scripted(Answer(Says.UNDECIDED), Answer(Says.UNDECIDED), Answer(says, "because"))
    async with house.keeper(gate):
        await house.said()
    (intent,) = house.intents()
    assert (intent.verb, intent.target, intent.actor, intent.reason) == (verb, "load-test", "load-test", "because")
    assert intent.generation == house.fleet.state().generation
    assert len(gate.asked) == 3


async def test_two_keepers_and_one_that_starts_again_give_one_id():
    house = House()
    for number in (2, 4):
        async with house.keeper(Scripted(Answer(Says.PASS))), house.keeper(Scripted(Answer(Says.PASS))):
            await house.said(number)
    assert len({intent.id for intent in house.intents()}) == 1


async def test_an_answer_without_confirmation_is_given_again_under_the_same_id():
    house = House()
    house.log.lose_answers("intents", True)
    async with house.keeper(Scripted(Answer(Says.PASS))):
        await house.said(2)
    assert len({intent.id for intent in house.intents()}) == 1


async def test_what_was_closed_while_it_was_asked_is_not_answered():
    house, gate, first = House(), Scripted(Answer(Says.PASS)), question()
    again = replace(first, generation=first.generation + 2)
    gate.held.clear()
    async with house.alone(gate) as keeper:
        keeper.show([first])
        await gate.was_asked.wait()
        keeper.show([])
        keeper.show([again])
        gate.held.set()
        await house.said()
    assert gate.asked == [first, again]
    assert [intent.generation for intent in house.intents()] == [again.generation]


async def test_a_gate_that_nobody_here_knows_is_left_to_its_default():
    house, gate, known = House(), Scripted(Answer(Says.PASS)), question()
    async with house.alone(gate) as keeper:
        keeper.show([replace(known, gate="smoke-test")])
        keeper.show([replace(known, gate="smoke-test"), known])
        await house.said()
    assert gate.asked == [known]


def test_the_answer_of_a_real_gate_is_accepted_by_the_step():
    """From the question to the record: what the keeper signs is what decide takes."""
    fleet = waiting()
    (asked,) = open_gates(fleet.ledger)
    keeper = Gatekeeper(MemoryLog(SystemClock()), SystemClock(), SIGNER, [], registry=CollectorRegistry())
    intent = keeper.intent(asked, Answer(Says.PASS, "fine"))
    decision = fleet.ask(
        intent.verb, generation=intent.generation, key=TRUST.keys["gate"], target=intent.target, actor=intent.actor
    )
    assert decision.reason == "gate_passed"
    assert keeper.intent(replace(asked, generation=1), Answer(Says.PASS)).id != intent.id
