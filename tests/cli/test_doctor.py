"""``tidegate doctor``: each broken installation is found, with what to do; a sound one has no finding."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from msgspec.structs import replace
from tests.cli.kit import World
from tests.kafka.secured.authority import Authority

from tidegate.broker import Connection
from tidegate.cli.doctor_broker import judged, kept_safely
from tidegate.cli.doctor_finding import DAY_MS, Finding, Level
from tidegate.cli.doctor_fleet import Group, Heard, author, group_findings, letter_findings, node_findings
from tidegate.cli.doctor_home import home_findings, roles_here, room
from tidegate.cli.up import is_up
from tidegate.model import Model
from tidegate.ports import Record
from tidegate.rollout.events import NodesEnrolled, ReportArrived
from tidegate.rollout.view import see
from tidegate.runtime.access import Access, Sasl, Tls
from tidegate.runtime.home import Home
from tidegate.runtime.keys import ROLES, make_key, make_root, read_key
from tidegate.wire.acls import PRINCIPALS, Operation, rights
from tidegate.wire.codec import decode_strict
from tidegate.wire.documents import KeyRole, Report, Root
from tidegate.wire.envelope import open_envelope, seal

PROBLEM, WARNING = Level.PROBLEM, Level.WARNING
NOW_MS = 1_800_000_000_000
READ, WRITE, DESCRIBE = Operation.READ, Operation.WRITE, Operation.DESCRIBE


@pytest.fixture
def home(world: World) -> Home:
    """A home as it should be: what no process needs is elsewhere; a secret for every role is here."""
    here = world.home
    for name in ("root.key", "breakglass.key"):
        (here.keys / name).rename(world.folder / name)
    Authority(here.keys)
    password = here.keys / "operator.password"
    password.touch(mode=0o600)
    password.write_text("secret")
    configure(here, tls={"ca": "keys/ca.pem"}, sasl={"user": "tidegate-{role}", "password": "file:keys/{role}.password"})
    return here


def configure(home: Home, **kafka: object) -> None:
    settings = yaml.safe_load(home.config.read_text())
    settings["kafka"] |= kafka
    home.config.write_text(yaml.safe_dump(settings))


def found(home: Home, now_ms: int | None = None) -> list[Finding]:
    return home_findings(Home(home.folder, {}), now_ms or home.folder.stat().st_mtime_ns // 1_000_000)


def test_a_sound_home_has_no_finding(home: Home) -> None:
    assert found(home) == []


class Broken(NamedTuple):
    """A way to break an installation, and the finding that tells of it."""

    what: str
    breaks: Callable[[Home], object]
    level: Level
    about: str
    said: str
    remedy: str


def rewrite(name: str, old: str, new: str) -> Callable[[Home], object]:
    def breaks(home: Home) -> None:
        path = home.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return breaks


def mode(name: str, bits: int) -> Callable[[Home], object]:
    return lambda home: (home.folder / name).chmod(bits)


def remove(name: str) -> Callable[[Home], object]:
    return lambda home: (home.folder / name).unlink()


def copy(source: str, target: str) -> Callable[[Home], object]:
    return lambda home: shutil.copy(home.folder / source, home.folder / target)


def back(home: Home) -> None:
    shutil.copy(home.folder.parent / "root.key", home.keys)


def other_root(home: Home) -> None:
    """The newest key document, said to follow one that it does not follow."""
    shutil.copy(home.root, home.keys / "root-1.json")
    second(home)
    other = make_key(home.folder.parent / "other" / "root.key")
    (home.keys / "root-1.json").write_bytes(make_root("local", dict.fromkeys(ROLES, other) | {KeyRole.ROOT: other}, 1))


def second(home: Home) -> None:
    """A second version of the key document, as a rotation leaves it."""
    boss = read_key(home.folder.parent / "root.key")
    before = open_envelope(home.root.read_bytes(), Root).payload
    home.root.write_bytes(seal(replace(decode_strict(before, Root), version=2), boss))


BROKEN = [
    Broken("root.json is open", mode("keys/root.json", 0o666), PROBLEM, "keys", "others can write it", "chmod go-w"),
    Broken("root.json is torn", rewrite("keys/root.json", "payload", "paylaod"), PROBLEM, "keys", "root.json", "restore it"),
    Broken("root.json is gone", remove("keys/root.json"), PROBLEM, "keys", "root.json: No such file", "tidegate init"),
    Broken("a chain is broken", other_root, PROBLEM, "keys", "does not follow from the one before", "restore it"),
    Broken("a chain has no beginning", second, WARNING, "keys", "root-1.json is missing", "copy it"),
    Broken("a key is open", mode("keys/decision.key", 0o640), PROBLEM, "keys", "others can read it", "chmod 600"),
    Broken("a key is torn", rewrite("keys/decision.key", "\n", "x"), PROBLEM, "keys", "no private key of 64", "restore it"),
    Broken("a key is another", copy("keys/api.key", "keys/gate.key"), PROBLEM, "keys", "gate.key is not the key", "rotate"),
    Broken("a key counts no more", copy("keys/api.key", "keys/old.key"), WARNING, "keys", "old.key is no key of", "remove it"),
    Broken("a root key is at hand", back, WARNING, "keys", "root.key in", "off this machine"),
    Broken("a node file is odd", rewrite("nodes/n2.yaml", "state:", "staet:"), PROBLEM, "node file", "n2.yaml", "mend"),
    Broken("a node's key is gone", remove("keys/node-n2.key"), PROBLEM, "node n2", "node-n2.key: No such file", "tidegate init"),
    Broken("a node's key is open", mode("keys/node-n2.key", 0o644), PROBLEM, "node n2", "others can read it", "chmod 600"),
    Broken(
        "a node strays", rewrite("nodes/n2.yaml", "tidegate.", "other."), PROBLEM, "node n2", "kafka.prefix is 'o", "the same"
    ),
    Broken("a password is open", mode("keys/operator.password", 0o644), PROBLEM, "secrets", "others can read it", "chmod 600"),
    Broken("no password", remove("keys/operator.password"), PROBLEM, "secrets", "no role has a password", "put there"),
    Broken("no authority", remove("keys/ca.pem"), PROBLEM, "secrets", "ca.pem: no authority can be", "put the broker's CA"),
    Broken("no TLS", lambda home: configure(home, tls=None), PROBLEM, "secrets", "in the clear", "add kafka.tls"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=[row.what for row in BROKEN])
def test_each_broken_home_is_found_with_what_to_do(home: Home, broken: Broken) -> None:
    broken.breaks(home)
    findings = found(home)
    assert [(one.level, one.about) for one in findings] == [(broken.level, broken.about)], findings
    assert broken.said in findings[0].what
    assert broken.remedy in findings[0].remedy


@pytest.mark.parametrize(("days", "level"), [(0, None), (334, None), (336, WARNING), (366, PROBLEM)])
def test_a_certificate_is_told_of_a_month_before_it_ends(home: Home, days: int, level: Level | None) -> None:
    made_ms = home.folder.stat().st_mtime_ns // 1_000_000
    assert [one.level for one in found(home, made_ms + days * DAY_MS)] == ([] if level is None else [level])


@pytest.mark.parametrize(("free", "level"), [(100 << 30, None), (1 << 30, WARNING), (10 << 20, PROBLEM)])
def test_a_full_disk_is_found(free: int, level: Level | None) -> None:
    assert [one.level for one in room(Path("/somewhere"), free)] == ([] if level is None else [level])


HEARD = [
    (Heard(last_ms=NOW_MS, skew_ms=40), None, ""),
    (Heard(last_ms=NOW_MS, skew_ms=3_500), WARNING, "this machine is 3.5 s ahead of the broker"),
    (Heard(last_ms=NOW_MS, skew_ms=-400_000), PROBLEM, "this machine is 400.0 s behind the broker"),
    (Heard(last_ms=None), PROBLEM, "no decision agent has ever led"),
    (Heard(last_ms=NOW_MS - 60_000), PROBLEM, "no decision agent leads: the last heartbeat is"),
    (Heard(last_ms=NOW_MS - 60_000, resigned=True), PROBLEM, "the last decision agent resigned"),
]


@pytest.mark.parametrize(("heard", "level", "said"), HEARD)
def test_a_silent_decision_agent_and_a_clock_that_is_off_are_found(heard: Heard, level: Level | None, said: str) -> None:
    findings = list(author(heard, NOW_MS))
    assert [one.level for one in findings] == ([] if level is None else [level])
    assert all(said in one.what for one in findings)


GROUPS = [
    (Group(role="judge", members=2), None, ""),
    (Group(role="judge", members=2, oldest_ms=NOW_MS - 20_000), None, ""),
    (Group(role="judge", members=2, oldest_ms=NOW_MS - 90_000), WARNING, "behind"),
    (Group(role="judge", members=2, oldest_ms=NOW_MS - 900_000), PROBLEM, "behind"),
    (Group(role="judge", members=0), PROBLEM, "no worker of this role runs"),
    (Group(role="experiment", members=0), WARNING, "no worker of this role runs"),
]


@pytest.mark.parametrize(("group", "level", "said"), GROUPS)
def test_a_worker_that_is_away_or_behind_is_found(group: Group, level: Level | None, said: str) -> None:
    findings = list(group_findings(group, NOW_MS))
    assert [one.level for one in findings] == ([] if level is None else [level])
    assert all(said in one.what and f"tidegate worker {group.role}" in one.remedy for one in findings)


def report(**fields: object) -> Report:
    said = {"fleet": "local", "node": "n1", "boot": "b", "counter": 1, "issued_ms": NOW_MS, "agent_version": "1"}
    return Report(**(said | fields))  # type: ignore[arg-type]


NODES = [
    (report(), 0, None, ""),
    (report(), 300_000, PROBLEM, "its last report is"),
    (report(frozen="two commands of one order"), 0, PROBLEM, "it refuses to act: two commands"),
    (report(issued_ms=NOW_MS + 4_000), 0, WARNING, "its clock is 4.0 s ahead of"),
    (report(issued_ms=NOW_MS - 600_000), 0, PROBLEM, "its clock is 600.0 s behind"),
    (report(disk_free_bytes=1 << 20), 0, WARNING, "are free on its disk"),
    (report(disk_free_bytes=-1), 0, None, ""),
    (None, 0, WARNING, "it is enrolled and never reported"),
]


@pytest.mark.parametrize(("said_by", "later_ms", "level", "said"), NODES)
def test_a_node_that_is_silent_frozen_off_in_time_or_full_is_found(
    home: Home, said_by: Report | None, later_ms: int, level: Level | None, said: str
) -> None:
    model = Model(home.trust)
    model.view = see(model.view, NodesEnrolled(frozenset({"n1"})))
    if said_by is not None:
        model.view = see(model.view, ReportArrived(said_by, NOW_MS))
    findings = list(node_findings(model, NOW_MS + later_ms))
    assert [one.level for one in findings] == ([] if level is None else [level])
    assert all(said in one.what and one.about == "node n1" for one in findings)


def test_dead_letters_of_the_last_hour_are_told_with_the_last_reason() -> None:
    headers = {"origin-topic": b"telemetry", "path": b"rows[0].version", "reason": b"is missing"}
    letters = [
        Record("deadletters", 0, at, NOW_MS - age_ms, None, b"", headers) for at, age_ms in enumerate((7_200_000, 60_000, 5))
    ]
    (one,) = letter_findings(letters, NOW_MS)
    assert (one.level, one.what) == (WARNING, "2 in the last hour, the last of telemetry: rows[0].version is missing")
    assert list(letter_findings(letters[:1], NOW_MS)) == []


def partition(leader: int = 1, replicas: int = 3, isr: int = 3) -> dict[str, object]:
    return {"leader": leader, "replicas": list(range(replicas)), "isr": list(range(isr))}


@pytest.mark.parametrize(
    ("parts", "brokers", "level", "said"),
    [
        ([partition()], 3, None, ""),
        ([partition(replicas=1, isr=1)], 1, None, ""),
        ([partition(), partition(replicas=1, isr=1)], 3, WARNING, "fewer than 3 replicas on 3 brokers"),
        ([partition(replicas=2, isr=2)], 2, None, ""),
        ([partition(isr=2)], 3, WARNING, "replicas lag or are away"),
        ([partition(leader=-1)], 3, PROBLEM, "no broker leads t.plans"),
    ],
)
def test_topics_that_one_brokers_end_would_take_away_are_found(
    parts: list[dict[str, object]], brokers: int, level: Level | None, said: str
) -> None:
    findings = kept_safely([{"topic": "t.plans", "partitions": parts}], brokers)
    assert [one.level for one in findings] == ([] if level is None else [level])
    assert all(said in one.what for one in findings)


def test_rights_that_a_role_lacks_or_need_not_have_are_told_by_name() -> None:
    where = Connection("x:1", "t.", Access(Tls(), Sasl(user="tidegate-judge", password="env:X")))
    may = {name: frozenset[Operation]() for name in ("t.desired", "t.judge", "t.intake")}
    for right in rights("judge", "t."):
        may[right.name] = may.get(right.name, frozenset()) | {right.operation, DESCRIBE}
    assert judged(["judge"], where, may) == []
    assert judged(["judge"], where, may | {"t.nodeseconds": None}) == []
    (lacks,) = judged(["judge"], where, may | {"t.verdicts": frozenset({DESCRIBE}), "t.judge": frozenset()})
    assert (lacks.level, lacks.what) == (PROBLEM, "User:tidegate-judge (judge) may not read t.judge, write t.verdicts")
    (beyond,) = judged(["judge"], where, may | {"t.desired": frozenset({READ, WRITE})})
    assert (beyond.level, beyond.what) == (WARNING, "User:tidegate-judge (judge) may read and write t.desired, and need not")


def test_one_user_who_plays_several_roles_may_do_what_each_of_them_takes() -> None:
    where = Connection("x:1", "t.", Access(Tls(), Sasl(user="tidegate", password="env:X")))
    may: dict[str, frozenset[Operation]] = {}
    for right in (*rights("judge", "t."), *rights("decide", "t.")):
        may[right.name] = may.get(right.name, frozenset()) | {right.operation, DESCRIBE}
    assert judged(["judge", "decide"], where, may) == []
    (beyond,) = judged(["judge"], where, may)
    assert "write t.desired" in beyond.what.replace("read and write", "write")


@pytest.mark.parametrize(
    ("sasl", "here"),
    [
        ({"user": "tidegate-{role}", "password": "file:keys/{role}.password"}, ["operator"]),
        ({"user": "tidegate-{role}", "password": "env:PW_{role}"}, ["judge"]),
        ({"user": "tidegate-{role}", "password": "env:NONE_{role}"}, []),
        ({"user": "tidegate", "password": "env:PW_judge"}, list(PRINCIPALS)),
    ],
)
def test_it_comes_as_the_roles_whose_password_is_here(
    home: Home, monkeypatch: pytest.MonkeyPatch, sasl: dict[str, str], here: list[str]
) -> None:
    monkeypatch.setenv("PW_judge", "secret")
    configure(home, sasl=sasl)
    assert roles_here(Home(home.folder, {})) == here


def test_the_command_tells_all_with_an_exit_code_and_goes_as_far_as_it_can(world: World, home: Home) -> None:
    told = world.type("doctor", "-o", "json")
    assert (told.code, told.json["problems"], told.json["findings"][0]["about"]) == (1, 1, "broker")
    shutil.copy(home.keys / "api.key", home.keys / "old.key")
    configure(home, bootstrap="127.0.0.1:1")
    told = world.type("doctor")
    assert (told.code, "no broker answers at 127.0.0.1:1" in told.out, "1 problem, 1 warning\n" in told.out) == (1, True, True)
    home.config.write_text("fleet: [")
    told = world.type("doctor")
    assert (told.code, "not YAML" in told.out) == (1, True)


def test_addresses_that_a_killed_up_left_behind_are_no_problem(home: Home) -> None:
    (home.state / "notify.address").write_text("http://127.0.0.1:1\n")
    (home.state / "up.lock").touch()
    assert not is_up(home)
    with (home.state / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_up(home)
