"""``tidegate init``: everything once, nothing overwritten."""

import contextlib
import re
import socket
import stat
from pathlib import Path

import pytest
from tests.cli.kit import World

from tidegate.cli.init import make_node_file
from tidegate.node import load_config
from tidegate.node.config import load_trust
from tidegate.runtime.home import Home
from tidegate.runtime.keys import read_key
from tidegate.runtime.settings import ApiSettings
from tidegate.wire.documents import Enrolment, KeyRole
from tidegate.wire.envelope import unseal


@pytest.fixture
def empty(tmp_path: Path) -> World:
    return World(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_home_holds_what_every_role_needs(empty: World) -> None:
    made = empty.type("init", "--fleet", "prod", "--nodes", "2", "--node", "edge=west")
    assert (made.code, made.err) == (0, "")
    home = empty.home
    assert home.settings.fleet == "prod"
    for role in (KeyRole.ROOT, KeyRole.OPERATOR, KeyRole.API, KeyRole.DECISION):
        key = home.signer(role)
        assert home.trust.keys[key.key_id] == key.public(role)
    assert {path.stem for path in home.nodes.iterdir()} == {"node-1", "node-2", "edge"}
    config = load_config(home.nodes / "edge.yaml")
    assert (config.fleet, config.zone, load_trust(config)) == ("prod", "west", home.trust)
    assert "tidegate up" in made.out


def test_the_examples_of_two_nodes_do_not_share_a_port(empty: World) -> None:
    empty.type("init", "--nodes", "2")
    empty.type("init", "--node", "late")
    ports = {re.findall(r"listen: 127.0.0.1:([0-9]+)", path.read_text())[0] for path in empty.home.nodes.iterdir()}
    assert ports == {"8101", "8102", "8103"}


def test_private_keys_are_their_owners_alone(empty: World) -> None:
    empty.type("init", "--nodes", "1")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in empty.home.keys.glob("*.key")}
    assert modes == {0o600}
    assert stat.S_IMODE(empty.home.keys.stat().st_mode) == 0o700


def test_an_enrolment_binds_a_key_to_its_node(empty: World) -> None:
    empty.type("init", "--node", "n1")
    record = (empty.home.keys / "n1.enrolment.json").read_bytes()
    enrolment, by = unseal(record, Enrolment, empty.home.trust)
    assert (enrolment.node, enrolment.key.node, enrolment.key.role, by.role) == ("n1", "n1", KeyRole.NODE, KeyRole.OPERATOR)
    assert enrolment.key == read_key(empty.home.keys / "node-n1.key").public(KeyRole.NODE, "n1")


def test_doing_it_again_changes_nothing_and_adds_what_is_new(empty: World) -> None:
    empty.type("init", "--nodes", "2")
    before = contents(empty.home.folder)
    again = empty.type("init", "--nodes", "2")
    assert (again.code, contents(empty.home.folder)) == (0, before)
    assert "as it was" in again.out
    more = empty.type("init", "--nodes", "3")
    assert "enrolled node-3;" in more.out
    after = contents(empty.home.folder)
    assert {name: after[name] for name in before} == before


def test_an_enrolment_that_was_cut_short_is_finished_with_the_same_key(empty: World) -> None:
    empty.type("init", "--node", "n1")
    key = (empty.home.keys / "node-n1.key").read_bytes()
    (empty.home.keys / "n1.enrolment.json").unlink()
    assert empty.type("init", "--node", "n1").code == 0
    assert (empty.home.keys / "node-n1.key").read_bytes() == key
    assert (empty.home.keys / "n1.enrolment.json").exists()


@pytest.mark.parametrize(
    ("option", "first", "then"), [("fleet", "staging", "prod"), ("prefix", "a.", "b."), ("bootstrap", "x:1", "y:2")]
)
def test_a_home_is_not_made_anew_with_other_settings(empty: World, option: str, first: str, then: str) -> None:
    assert empty.type("init", f"--{option}", first).code == 0
    assert empty.type("init", f"--{option}", first).code == 0
    other = empty.type("init", f"--{option}", then)
    assert (other.code, f"exists with {option} {first}" in other.err, "--home" in other.err) == (2, True, True)


def test_keys_without_settings_are_not_overwritten(empty: World) -> None:
    empty.type("init")
    empty.home.config.unlink()
    before = contents(empty.home.folder)
    refused = empty.type("init")
    assert (refused.code, contents(empty.home.folder)) == (1, before)
    assert "config.yaml is missing" in refused.err


def test_settings_without_keys_say_what_to_do(empty: World) -> None:
    empty.home.folder.mkdir(parents=True, exist_ok=True)
    empty.home.config.write_text("fleet: prod\nkafka: {bootstrap: broker.example:9092}\n")
    done = empty.type("init", "--node", "web-1")
    assert (done.code, "keys are made together with the settings" in done.err) == (2, True)
    assert list(contents(empty.home.folder)) == ["config.yaml"]


def test_a_nodes_file_is_made_where_settings_were_written_by_hand(empty: World) -> None:
    empty.home.folder.mkdir(parents=True, exist_ok=True)
    empty.home.config.write_text("fleet: prod\nkafka: {bootstrap: broker.example:9092}\n")
    make_node_file(empty.home, "web-7", "")
    assert (empty.home.nodes / "web-7.yaml").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--node", "a b"], ["--node", "-x"], ["--node", ""], ["--fleet", "a/b"], ["--bootstrap", "kafka:9092/"]],
)
def test_a_name_that_is_none_is_refused_before_anything_is_made(empty: World, arguments: list[str]) -> None:
    refused = empty.type("init", *arguments)
    assert refused.code == 2
    assert not empty.home.folder.exists()


def test_publishing_to_nobody_fails_and_says_so(empty: World) -> None:
    refused = empty.type("init", "--bootstrap", "127.0.0.1:1", "--publish")
    assert refused.code == 1
    assert "no broker answers at 127.0.0.1:1" in refused.err
    later = empty.type("init")
    assert (later.code, "no broker answers" in later.out) == (0, True)


def test_a_second_home_on_a_machine_serves_flags_at_other_ports(empty: World) -> None:
    own = ApiSettings()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where somebody else has it, so much the better
            stack.enter_context(socket.create_server((own.host, own.port)))
        assert empty.type("init").code == 0
        found = empty.home.settings.api
        assert found is not None
        assert own.port not in (found.port, found.sync)
        assert found.port != found.sync


def test_nodes_come_to_the_broker_as_the_settings_say_seen_from_their_own_folder(empty: World) -> None:
    assert empty.type("init").code == 0
    config = empty.home.config
    tls, sasl = "{ca: keys/ca.pem}", '{user: "tidegate-{role}", password: "file:keys/{role}.password"}'
    config.write_text(config.read_text().replace("timings:", f"  tls: {tls}\n  sasl: {sasl}\ntimings:"))
    assert empty.type("init", "--node", "n1").code == 0
    access = load_config(empty.home.nodes / "n1.yaml").kafka.access
    assert access.tls is not None
    assert access.sasl is not None
    keys = empty.home.nodes / ".." / "keys"
    assert (access.tls.ca, access.sasl.password) == (f"{keys}/ca.pem", f"file:{keys}/{{role}}.password")


@pytest.mark.parametrize(
    "arguments", [["--fleet", "2024"], ["--node", "no"], ["--node", "10.5"], ["--bootstrap", "[::1]:9092"], ["--node", "null=1"]]
)
def test_names_that_yaml_would_take_for_something_else_are_names(empty: World, arguments: list[str]) -> None:
    assert empty.type("init", "--node", "n1", *arguments).code == 0
    assert Home(empty.home.folder, {}).settings.fleet == (arguments[1] if arguments[0] == "--fleet" else "local")
    names = {path.stem for path in empty.home.nodes.glob("*.yaml")}
    assert {load_config(empty.home.nodes / f"{name}.yaml").node for name in names} == names


def test_a_folder_that_has_a_list_of_what_git_ignores_keeps_it(empty: World) -> None:
    empty.home.folder.mkdir()
    (empty.home.folder / ".gitignore").write_text("node_modules\n")
    assert empty.type("init").code == 0
    assert (empty.home.folder / ".gitignore").read_text() == "node_modules\n"
