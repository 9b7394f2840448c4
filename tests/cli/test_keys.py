"""``tidegate keys``: rotate, revoke, enrol, join; what stands in the log afterwards is what counts."""

import contextlib
import json
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.cli.kit import Result, World

import tidegate.cli.session
from tidegate.cli.keyring import Ring
from tidegate.cli.publish import documents
from tidegate.node import load_config
from tidegate.node.config import load_signer, load_trust
from tidegate.ports import Log
from tidegate.runtime.home import Home
from tidegate.runtime.keys import make_key, read_key
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Enrolment, KeyRole
from tidegate.wire.envelope import Refused, Signs, Trust, seal
from tidegate.wire.keys import trust_after


def told(world: World, base: Trust | None = None) -> Trust:
    """Whose keys count by the log, to a reader that starts with what it has; ``base``: the home's newest by default."""
    trust = base or Home(world.home.folder, {}).trust
    records = [(one.key or "", one.value or b"", one.time_ms) for one in world.log.topic("keys")]
    for record in records or [(key, value, 0) for key, value in documents(world.home)]:
        try:
            trust = trust_after(trust, *record)
        except (Malformed, Refused):
            continue
    return trust


def ids(trust: Trust, role: KeyRole) -> list[str]:
    return [key.id for key in trust.keys.values() if key.role is role]


def done(result: Result) -> Result:
    assert (result.code, result.err) == (0, "")
    return result


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """An installation whose log is there; nobody decides and no node runs."""
    monkeypatch.setattr(tidegate.cli.session, "open_log", lambda *_: quiet(world))
    return world


@contextlib.asynccontextmanager
async def quiet(world: World) -> AsyncIterator[Log]:
    if not world.log.topic("keys"):
        for key, value in documents(world.home):
            await world.log.append("keys", key, value)
    yield world.log


@pytest.fixture
def first(world: World) -> Trust:
    """The trust of a node that was installed with the first key document."""
    return world.home.trust


PLAN = """
service: shop
artifact: {version: "2", path: new}
stages: [{setWeight: 100, bake: 1s, minRequests: 0}]
watch: 0s
"""


# the fleet's keys


def test_keys_are_listed_with_where_their_private_half_is(world: World) -> None:
    rows = {row["id"]: row for row in world.type("keys", "list", "--output", "json").json}
    assert set(rows) == {"root", "operator", "api", "gate", "decision", "breakglass", "node-n1", "node-n2", "node-n3"}
    assert (rows["node-n1"]["for"], rows["node-n1"]["state"], rows["node-n1"]["here"]) == ("n1", "enrolled", "key")
    (world.home.keys / "root.key").unlink()
    listed = world.type("keys", "list")
    assert "breakglass: no process needs them" in listed.err
    assert {row["id"] for row in world.type("keys", "list", "-o", "json").json if not row["here"]} == {"root"}


def test_without_a_broker_the_home_is_listed(tmp_path: Path) -> None:
    alone = World(tmp_path)
    alone.type("init", "--bootstrap", "127.0.0.1:1")
    listed = alone.type("keys", "list")
    assert (listed.code, "decision" in listed.out, "no broker answers" in listed.err) == (0, True, True)


@pytest.mark.parametrize("role", ["operator", "decision", "api", "gate", "breakglass", "root"])
def test_a_key_rotates_in_two_documents_and_every_reader_follows(world: World, first: Trust, role: str) -> None:
    made = done(world.type("keys", "rotate", role))
    assert f"tidegate keys revoke {role}" in made.out
    both = told(world, first)
    assert (both.root_version, ids(both, KeyRole(role))) == (2, [role, f"{role}-2"])
    assert stat.S_IMODE((world.home.keys / f"{role}-2.key").stat().st_mode) == 0o600
    assert "root version 3 counts" in done(world.type("keys", "revoke", role)).out
    for trust in (told(world, first), told(world)):
        assert (trust.root_version, ids(trust, KeyRole(role))) == (3, [f"{role}-2"])
        assert trust.nodes() == {"n1", "n2", "n3"}


def test_the_home_signs_with_the_newest_key_and_a_rollout_runs_through(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidegate.cli.session, "open_log", world.open_log)
    world.artifact("new")
    for command in (["rotate", "operator"], ["rotate", "decision"], ["revoke", "operator"], ["revoke", "decision"]):
        assert world.type("keys", *command).code == 0
        world.home = Home(world.home.folder, {})
    assert [world.home.signer(role).key_id for role in (KeyRole.OPERATOR, KeyRole.DECISION)] == ["operator-2", "decision-2"]
    started = world.type("rollout", "start", world.plan(PLAN), "--wait", "--timeout", "30s")
    assert started.code == 0, started.err


def test_a_stolen_key_is_replaced_by_one_document(world: World, first: Trust) -> None:
    done(world.type("keys", "rotate", "operator", "--now"))
    trust = told(world, first)
    assert (trust.root_version, ids(trust, KeyRole.OPERATOR)) == (2, ["operator-2"])
    assert first.keys["operator"].public in trust.revoked
    assert told(world).nodes() == {"n1", "n2", "n3"}, "enrolments were said again by the new key"


def test_without_who_enrols_nodes_anew_the_operators_key_stays(world: World) -> None:
    """The key document was published first: whoever started with it knew no node, and nothing mended that."""
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    refused = world.type("keys", "rotate", "operator", "--now", "--public", public)
    assert (refused.code, "holds no operator key of root version 2" in refused.err) == (1, True)
    assert (told(world).root_version, told(world).nodes()) == (1, {"n1", "n2", "n3"})


def test_what_was_broken_off_before_every_node_was_enrolled_anew_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Exception):
        pass

    async def cut(self: Ring, enrolments: Mapping[str, Enrolment], operator: Signs) -> None:
        await self.append("n2", seal(enrolments["n2"], operator))
        raise Cut

    with monkeypatch.context() as broken:
        broken.setattr(Ring, "resign", cut)
        with pytest.raises(Cut):
            world.type("keys", "rotate", "operator", "--now")
    assert told(world).nodes() == {"n2"}
    assert "signed 2 enrolments anew" in done(world.type("keys", "publish")).out
    assert told(world).nodes() == {"n1", "n2", "n3"}
    assert "every enrolment counts" in done(world.type("keys", "publish")).out


def test_who_joined_by_a_token_that_is_revoked_stays(known: World, first: Trust) -> None:
    text = invitation(known, "web-*")
    joining(known, text, "web-9")
    token = next(iter(told(known, first).tokens))
    assert "signed 1 enrolments anew" in done(known.type("keys", "revoke", token)).out
    assert told(known).nodes() == {"n1", "n2", "n3", "web-9"}


def test_a_node_whose_key_is_revoked_holds_up_no_other_change(world: World) -> None:
    done(world.type("keys", "revoke", "node-n1"))
    (world.home.keys / "operator.key").unlink()
    assert "enrolments" not in done(world.type("keys", "add", "gate")).out
    assert "every enrolment counts" in done(world.type("keys", "publish")).out


@pytest.mark.parametrize("role", ["root", "operator", "decision"])
def test_the_last_key_of_a_role_that_is_needed_is_not_revoked(world: World, role: str) -> None:
    refused = world.type("keys", "revoke", role)
    assert (refused.code, f"keys rotate {role} --now" in refused.err) == (1, True)
    assert told(world).root_version == 1


def test_a_key_for_one_subject(world: World) -> None:
    done(world.type("keys", "add", "operator", "--id", "ci", "--subject", "svc/shop", "--public", "ab" * 32))
    key = told(world).keys["ci"]
    assert (key.subjects, key.public, (world.home.keys / "ci.key").exists()) == (("svc/shop",), "ab" * 32, False)
    for arguments in (["--id", "ci"], ["--id", "node-n1"], ["--id", "a b"], ["--id", "x", "--public", "zz"]):
        assert world.type("keys", "add", "operator", *arguments).code == 2
    assert told(world).root_version == 2


def test_keys_of_nodes_are_revoked_by_the_root(world: World, first: Trust) -> None:
    done(world.type("keys", "revoke", "node-n2"))
    assert told(world, first).nodes() == told(world).nodes() == {"n1", "n3"}
    assert "node-n2" not in {row["id"] for row in world.type("keys", "list", "-o", "json").json}


def test_several_root_keys_sign_one_after_another(world: World, tmp_path: Path, first: Trust) -> None:
    stick = make_key(tmp_path / "stick" / "bea.key")
    done(
        world.type(
            "keys",
            "add",
            "root",
            "--id",
            "bea",
            "--public",
            stick.public(KeyRole.ROOT).public,
            "--root-key",
            str(tmp_path / "stick/bea.key"),
        )
    )
    done(world.type("keys", "threshold", "2", "--root-key", str(tmp_path / "stick/bea.key")))
    waiting = done(world.type("keys", "rotate", "api", "--now"))
    draft = world.home.keys / "root-4.draft.json"
    assert ("not enough signatures" in waiting.out, str(draft) in waiting.out) == (True, True)
    assert told(world, first).root_version == 3
    assert "waits for signatures" in world.type("keys", "rotate", "gate").err
    early = world.type("keys", "publish", str(draft))
    assert (early.code, "it needs 2" in early.err) == (1, True)
    signed = done(world.type("keys", "sign", str(draft), "--root-key", str(tmp_path / "stick/bea.key")))
    assert "+ api-2" in signed.out
    done(world.type("keys", "publish", str(draft)))
    assert (told(world, first).root_version, draft.exists()) == (4, False)


def test_a_stranger_cannot_sign(world: World, tmp_path: Path) -> None:
    make_key(tmp_path / "mallory.key")
    refused = world.type("keys", "rotate", "api", "--root-key", str(tmp_path / "mallory.key"))
    assert (refused.code, "mallory is no root key" in refused.err) == (1, True)


def test_what_another_home_has_changed_is_taken_over(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    world.type("keys", "list")
    (other / "keys").mkdir(parents=True)
    for name in ("config.yaml", "keys/root.json", "keys/root.key"):
        (other / name).write_bytes((world.home.folder / name).read_bytes())
        (other / name).chmod(0o600)
    for _ in range(2):
        assert world.type("keys", "rotate", "api", home=other).code == 0
    assert told(world).root_version == 3
    done(world.type("keys", "rotate", "gate"))
    assert told(world).root_version == 4
    assert [key for key, _ in documents(Home(world.home.folder, {}))][:4] == ["1", "2", "3", "4"]


def test_a_key_document_is_shown_as_it_was_signed(world: World) -> None:
    done(world.type("keys", "rotate", "api"))
    assert world.type("keys", "show", "-o", "json").json["signed_by"] == ["root"]
    assert world.type("keys", "show", "--version", "1", "-o", "json").json["version"] == 1
    missing = world.type("keys", "show", "--version", "9")
    assert (missing.code, "root-9.json" in missing.err) == (1, True)


# protection


def test_a_key_under_a_passphrase_signs_for_who_knows_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_PASSPHRASE", "correct horse")
    done(world.type("keys", "rotate", "operator", "--passphrase"))
    assert "horse" not in (world.home.keys / "operator-2.key").read_text()
    done(world.type("fleet", "retire", "n3"))
    monkeypatch.setenv("TIDEGATE_PASSPHRASE", "wrong")
    refused = world.type("fleet", "retire", "n2")
    assert (refused.code, "not its passphrase" in refused.err) == (1, True)
    monkeypatch.delenv("TIDEGATE_PASSPHRASE")
    refused = world.type("fleet", "retire", "n2")
    assert (refused.code, "a passphrase is needed" in refused.err) == (1, True)


def test_a_key_in_a_device_signs(world: World) -> None:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw().hex()
    done(world.type("keys", "add", "operator", "--id", "stick", "--public", public))
    path = world.home.keys / "stick.signer"
    path.write_text(json.dumps({"public": public, "command": [sys.executable, "-c", DEVICE, private.private_bytes_raw().hex()]}))
    path.chmod(0o600)
    done(world.type("fleet", "retire", "n2"))
    assert told(world).nodes() == {"n1", "n3"}
    by = [json.loads(one.value)["signatures"][0]["keyid"] for one in world.log.topic("keys") if one.key == "n2"]
    assert by[-1] == "stick"


DEVICE = """
import sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Key
sys.stdout.buffer.write(Key.from_private_bytes(bytes.fromhex(sys.argv[1])).sign(sys.stdin.buffer.read()))
"""


# nodes


def test_a_node_is_enrolled_by_its_public_half_gets_another_key_and_retires(world: World) -> None:
    done(world.type("keys", "enrol", "n4", "--public", "ab" * 32))
    assert told(world).keys["node-n4"].public == "ab" * 32
    done(world.type("keys", "enrol", "n4", "--public", "cd" * 32))
    assert told(world).keys["node-n4"].public == "cd" * 32
    done(world.type("fleet", "retire", "n4"))
    assert told(world).nodes() == {"n1", "n2", "n3"}
    assert world.type("fleet", "retire", "n9").code == 1


@pytest.mark.parametrize(("node", "public"), [("a b", "ab" * 32), ("12", "ab" * 32), ("n4", "zz" * 32), ("n4", "")])
def test_what_is_no_node_or_no_key_is_not_enrolled(world: World, node: str, public: str) -> None:
    assert world.type("keys", "enrol", node, "--public", public).code == 2
    assert told(world).nodes() == {"n1", "n2", "n3"}


def joining(world: World, text: str, node: str) -> tuple[Result, Home]:
    home = world.folder / node
    return world.type("keys", "join", "--node", node, "--zone", "west", "-", home=home, stdin=text), Home(home, {})


def invitation(world: World, *arguments: str) -> str:
    result = world.type("keys", "token", *arguments)
    assert result.code == 0, result.err
    return result.out.strip()


@pytest.fixture
def known(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(Home, "bootstrap", lambda _home: "broker:9092")
    return world


def test_a_machine_joins_by_a_token_with_a_key_of_its_own(known: World) -> None:
    text = invitation(known, "web-*", "--valid", "10m")
    for node in ("web-1", "web-2"):
        joined, home = joining(known, text, node)
        assert (joined.code, joined.err) == (0, "")
        config = load_config(home.nodes / f"{node}.yaml")
        assert (config.fleet, config.zone, config.kafka.bootstrap) == ("local", "west", "broker:9092")
        assert load_trust(config) == known.home.trust
        assert told(known).keys[f"node-{node}"] == load_signer(config).public(KeyRole.NODE, node)
        assert {path.name for path in home.keys.iterdir()} == {"root.json", f"node-{node}.key"}
        assert joining(known, text, node)[0].code == 0, "doing it again changes nothing"
    assert told(known).nodes() == {"n1", "n2", "n3", "web-1", "web-2"}


def test_who_is_not_invited_does_not_join(known: World) -> None:
    text = invitation(known, "web-*")
    for node in ("db-1", "n1"):
        refused, _ = joining(known, text, node)
        assert (refused.code, f"{node} was not enrolled" in refused.err) == (1, True)
    over = invitation(known, "web-*", "--valid", "0s")
    assert joining(known, over, "web-1")[0].code == 1
    for text in ("", "tgjoin1.", "tgjoin1.e30=", "tgjoin2." + over[8:], over[:-8]):
        assert joining(known, text, "web-1")[0].code == 2
    assert told(known).nodes() == {"n1", "n2", "n3"}


def test_a_token_takes_no_nodes_place_and_ends_with_its_revocation(known: World) -> None:
    text = invitation(known, "web-*")
    assert joining(known, text, "web-1")[0].code == 0
    (known.folder / "web-1").rename(known.folder / "first")
    thief, _ = joining(known, text, "web-1")
    assert (thief.code, "its name is taken" in thief.err) == (1, True)
    name = next(iter(told(known).tokens))
    done(known.type("keys", "revoke", name))
    assert joining(known, text, "web-2")[0].code == 1
    before = read_key(known.folder / "first/keys/node-web-1.key").public(KeyRole.NODE, "web-1")
    for trust in (told(known), told(known, known.home.trust)):
        assert trust.keys.get("node-web-1") in (before, None)


@pytest.mark.parametrize("arguments", [["*"], ["a b"], [""], ["web-1", "--valid", "soon"]])
def test_a_token_names_whom_it_is_for(known: World, arguments: list[str]) -> None:
    assert known.type("keys", "token", *arguments).code == 2
