import base64
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import Malformed, encode
from tidegate.wire.documents import (
    BreakGlass,
    Claim,
    Desired,
    Enrolment,
    FlagStamp,
    GlassAction,
    Heartbeat,
    Hush,
    Intent,
    KeyRole,
    Move,
    Phase,
    Report,
    Root,
    Roster,
    Token,
    Verb,
    digest,
)
from tidegate.wire.envelope import (
    ENVELOPE_BYTES_MAX,
    KINDS,
    ROLES,
    SIGNATURES_MAX,
    Refused,
    Signer,
    WrongFleet,
    pae,
    payload_type,
    seal,
    unseal,
)
from tidegate.wire.groups import Group, Wave
from tidegate.wire.keys import enrol, trust_of
from tidegate.wire.plans import Artifact, Plan, Stage
from tidegate.wire.policies import Policy
from tidegate.wire.reasons import Reason


def signer(name):
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(digest(name.encode()))))


SIGNERS = {role: signer(role.value) for role in KeyRole}
STRANGER = signer("stranger")
IN_ROOT = [role for role in KeyRole if role not in (KeyRole.NODE, KeyRole.JOIN)]
ROOT = Root(fleet="test", version=1, issued_ms=1, keys=tuple(SIGNERS[role].public(role) for role in IN_ROOT))
NODE = Enrolment(fleet="test", node="n1", key=SIGNERS[KeyRole.NODE].public(KeyRole.NODE, "n1"), issued_ms=1)
TOKEN = Token(fleet="test", key=SIGNERS[KeyRole.JOIN].public(KeyRole.JOIN), nodes="web-*", expires_ms=9, issued_ms=1)
TRUST = enrol(trust_of(ROOT), NODE)
TRUST = msgspec.structs.replace(TRUST, keys={**TRUST.keys, TOKEN.key.id: TOKEN.key}, tokens={TOKEN.key.id: TOKEN})

DOCUMENTS = {
    Plan: Plan(
        id="p",
        fleet="test",
        service="shop",
        artifact=Artifact(version="v", sha256="a" * 64),
        stages=(Stage(set_weight=100),),
        expires_ms=1,
    ),
    Group: Group(name="checkout", fleet="test", issued_ms=1, waves=(Wave(plans=("{}",)),)),
    Policy: Policy(name="calm", fleet="test", issued_ms=1),
    Roster: Roster(fleet="test", subject="svc/shop", rollout="r", nodes=("n1",)),
    Desired: Desired(
        fleet="test",
        subject="svc/shop",
        service="shop",
        root_version=1,
        epoch=1,
        generation=1,
        phase=Phase.RUNNING,
        move=Move.ADVANCE,
        reason=Reason.STARTED,
    ),
    BreakGlass: BreakGlass(
        id="g",
        fleet="test",
        subject="svc/shop",
        root_version=1,
        generation=1,
        action=GlassAction.PAUSE,
        actor="x",
        reason="y",
        issued_ms=1,
    ),
    Claim: Claim(fleet="test", epoch=1, life="a", read_to=0, issued_ms=1),
    Heartbeat: Heartbeat(fleet="test", epoch=1, life="a", seq=1, issued_ms=1, digest="a" * 64),
    Report: Report(fleet="test", node="n1", boot="b", counter=1, issued_ms=1, agent_version="1"),
    Intent: Intent(id="i", fleet="test", subject="svc/shop", verb=Verb.PAUSE, generation=1, actor="x", issued_ms=1),
    Root: ROOT,
    Enrolment: NODE,
    Token: TOKEN,
    FlagStamp: FlagStamp(fleet="test", key="web/dark", root_version=1, epoch=1, generation=1, sha256="a" * 64),
}


def test_what_is_signed_is_dsse_1_0_2():
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_entitled_key_sealed_comes_back_with_that_key(kind):
    for role in ROLES[kind]:
        document, key = unseal(seal(DOCUMENTS[kind], SIGNERS[role]), kind, TRUST)
        assert document == DOCUMENTS[kind]
        assert key.role is role


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", KeyRole)
def test_every_other_role_is_refused_for_every_kind_of_document(kind, role):
    if role in ROLES[kind]:
        return
    with pytest.raises(Refused, match=role.value):
        unseal(seal(DOCUMENTS[kind], SIGNERS[role]), kind, TRUST)


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_is_never_taken_for_one_of_another_kind(kind):
    data = seal(DOCUMENTS[kind], *SIGNERS.values())
    for other in KINDS:
        if other is not kind:
            with pytest.raises(Malformed) as raised:
                unseal(data, other, TRUST)
            assert raised.value.path == "payloadType"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Root])
def test_a_document_of_another_fleet_does_not_count_here(kind):
    other = msgspec.structs.replace(DOCUMENTS[kind], fleet="staging")
    with pytest.raises(WrongFleet, match="staging"):
        unseal(seal(other, *SIGNERS.values()), kind, TRUST)


def test_strangers_nobody_and_borrowed_names_are_refused():
    intent = DOCUMENTS[Intent]
    borrowed = Signer(KeyRole.API.value, STRANGER.private)
    for signers in ((STRANGER,), (), (borrowed,)):
        with pytest.raises(Refused):
            unseal(seal(intent, *signers), Intent, TRUST)


def test_one_good_signature_among_others_is_enough():
    assert unseal(seal(DOCUMENTS[Intent], STRANGER, SIGNERS[KeyRole.NODE], SIGNERS[KeyRole.API]), Intent, TRUST)[1].id == "api"


def changed(data, **change):
    return json.dumps(json.loads(data) | change).encode()


def test_another_payload_or_signature_under_the_same_name_is_refused():
    data = seal(DOCUMENTS[Intent], SIGNERS[KeyRole.API])
    harmless = base64.b64encode(encode(msgspec.structs.replace(DOCUMENTS[Intent], verb=Verb.ABORT))).decode()
    with pytest.raises(Refused):
        unseal(changed(data, payload=harmless), Intent, TRUST)
    for sig in ("", "AAAA", "not base64!", base64.b64encode(b"\0" * 64).decode()):
        with pytest.raises(Refused):
            unseal(changed(data, signatures=[{"keyid": "api", "sig": sig}]), Intent, TRUST)


@given(st.data())
def test_a_bit_flipped_anywhere_is_refused(data):
    sealed = bytearray(seal(DOCUMENTS[Report], SIGNERS[KeyRole.NODE]))
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[at // 8] ^= 1 << at % 8
    try:
        document, _ = unseal(bytes(sealed), Report, TRUST)
    except (Malformed, Refused):
        return
    # Base64 has bits that carry nothing; then the very same bytes were verified and read.
    assert document == DOCUMENTS[Report]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"payloadType": 1, "payload": "", "signatures": []}', '{"payload": "a", "payload": "b"}', "[" * 5_000],
)
def test_what_is_no_envelope_is_malformed(text):
    with pytest.raises(Malformed):
        unseal(text.encode(), Plan, TRUST)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Root])
@pytest.mark.parametrize("by", [STRANGER, Signer("root", STRANGER.private)], ids=["a stranger", "a borrowed name"])
def test_nothing_of_a_payload_is_read_before_a_signature_of_the_role_holds(kind, by):
    """Size, envelope, type, signature, and only then the payload: a parser is no place for strangers."""
    envelope = {"payloadType": payload_type(kind), "payload": base64.b64encode(b"[" * 100_000).decode()}
    sig = base64.b64encode(by.sign(pae(payload_type(kind), b"[" * 100_000))).decode()
    with pytest.raises(Refused):
        unseal(json.dumps(envelope | {"signatures": [{"keyid": by.key_id, "sig": sig}]}).encode(), kind, TRUST)


def test_an_envelope_beyond_its_bound_is_not_even_read():
    with pytest.raises(Malformed, match="at most"):
        unseal(b" " * (ENVELOPE_BYTES_MAX + 1), Plan, TRUST)


GOOD = encode(DOCUMENTS[Report])


@pytest.mark.parametrize(
    "payload",
    [
        GOOD[:-1] + b',"surprise":1}',
        GOOD[:-1] + b',"node":"n1"}',
        GOOD.replace(b'"report"', b'"claim"'),
        GOOD[:-1],
        b"null",
        b"\xff",
    ],
    ids=["unknown field", "a key twice", "another kind", "torn", "nothing", "no text"],
)
def test_a_validly_signed_payload_is_read_strictly(payload):
    key, kind = SIGNERS[KeyRole.NODE], payload_type(Report)
    sig = base64.b64encode(key.private.sign(pae(kind, payload))).decode()
    signatures = [{"keyid": key.key_id, "sig": sig}]
    envelope = {"payloadType": kind, "payload": base64.b64encode(payload).decode(), "signatures": signatures}
    with pytest.raises(Malformed):
        unseal(json.dumps(envelope).encode(), Report, TRUST)


def test_a_node_reports_for_itself_only():
    other = msgspec.structs.replace(DOCUMENTS[Report], node="n2")
    with pytest.raises(Refused, match="n2"):
        unseal(seal(other, SIGNERS[KeyRole.NODE]), Report, TRUST)


def test_sealing_twice_gives_the_same_bytes():
    assert seal(DOCUMENTS[Plan], SIGNERS[KeyRole.OPERATOR]) == seal(DOCUMENTS[Plan], SIGNERS[KeyRole.OPERATOR])


OPERATOR, API, GATE = (SIGNERS[role] for role in (KeyRole.OPERATOR, KeyRole.API, KeyRole.GATE))
SCOPED = msgspec.structs.replace(OPERATOR.public(KeyRole.OPERATOR), subjects=("svc/shop",))
SCOPES = {
    "a gate answers": (GATE, {"verb": Verb.PROMOTE}, True),
    "a gate pauses": (GATE, {"verb": Verb.PAUSE}, True),
    "a gate rolls back": (GATE, {"verb": Verb.ABORT}, True),
    "a gate undoes nothing": (GATE, {"verb": Verb.UNDO}, False),
    "a gate hides no alarm": (GATE, {"verb": Verb.SILENCE}, False),
    "the API names its user": (API, {"actor": ""}, False),
    "a person signs for himself": (OPERATOR, {"actor": ""}, True),
}


@pytest.mark.parametrize(("who", "changes", "allowed"), SCOPES.values(), ids=SCOPES)
def test_what_a_role_may_ask_for(who, changes, allowed):
    intent = msgspec.structs.replace(DOCUMENTS[Intent], **changes)
    if allowed:
        assert unseal(seal(intent, who), Intent, TRUST)[0] == intent
    else:
        with pytest.raises(Refused):
            unseal(seal(intent, who), Intent, TRUST)


def test_a_key_for_some_subjects_counts_for_no_other_and_for_nothing_that_has_none():
    trust = msgspec.structs.replace(TRUST, keys=TRUST.keys | {SCOPED.id: SCOPED})
    other = {
        Plan: msgspec.structs.replace(DOCUMENTS[Plan], service="till"),
        Intent: msgspec.structs.replace(DOCUMENTS[Intent], subject="flag/web/dark"),
    }
    for kind, elsewhere in other.items():
        assert unseal(seal(DOCUMENTS[kind], OPERATOR), kind, trust)[0] == DOCUMENTS[kind]
        with pytest.raises(Refused, match="counts for svc/shop only"):
            unseal(seal(elsewhere, OPERATOR), kind, trust)
    # Who also has the signature of a key without that bound has all that is needed.
    assert unseal(seal(other[Intent], OPERATOR, API), Intent, trust)[1].id == "api"
    for kind in (Policy, Token, Enrolment):
        with pytest.raises(Refused, match="no subject"):
            unseal(seal(DOCUMENTS[kind], OPERATOR), kind, trust)


BEYOND = {
    "its own rollout": ({"verb": Verb.ABORT}, ""),
    "its own version": ({"verb": Verb.RELEASE, "target": "2"}, ""),
    "a silence of its own service": ({"verb": Verb.SILENCE, "hush": Hush(service="shop", name="anomaly", until_ms=1)}, ""),
    "a silence of another service": ({"verb": Verb.SILENCE, "hush": Hush(service="till", until_ms=1)}, "of svc/till"),
    "a silence of an alarm of everyone": (
        {"verb": Verb.SILENCE, "hush": Hush(name="rollback_happened", until_ms=1)},
        "every service",
    ),
    "a silence by a label": ({"verb": Verb.SILENCE, "hush": Hush(labels={"service": "shop"}, until_ms=1)}, "every service"),
    "a silence of nothing": ({"verb": Verb.SILENCE}, "every service"),
    "the end of a silence": ({"verb": Verb.UNSILENCE, "target": "silence-1"}, "for keys that count for all"),
    "a node taken out": ({"verb": Verb.CORDON, "target": "n1"}, "for keys that count for all"),
    "a node let in": ({"verb": Verb.UNCORDON, "target": "n1"}, "for keys that count for all"),
}


@pytest.mark.parametrize("who", [OPERATOR, API], ids=["operator", "api"])
@pytest.mark.parametrize(("changes", "refused"), BEYOND.values(), ids=BEYOND)
def test_a_key_for_some_subjects_asks_for_nothing_beyond_them_under_their_name(who, changes, refused):
    """H1: who has a key of one service hides no alarm of another with it, and takes no node from the fleet."""
    bound = msgspec.structs.replace(TRUST.keys[who.key_id], subjects=("svc/shop", "flag/web/dark"))
    trust = msgspec.structs.replace(TRUST, keys=TRUST.keys | {bound.id: bound})
    intent = msgspec.structs.replace(DOCUMENTS[Intent], **changes)
    assert unseal(seal(intent, who), Intent, TRUST)[0] == intent, "a key that counts for all may"
    if not refused:
        assert unseal(seal(intent, who), Intent, trust)[0] == intent
        return
    with pytest.raises(Refused, match="counts for svc/shop, flag/web/dark only") as raised:
        unseal(seal(intent, who), Intent, trust)
    assert refused in str(raised.value)


def test_an_envelope_makes_a_reader_verify_only_so_much():
    signatures = [{"keyid": "api", "sig": "AAAA"}] * (SIGNATURES_MAX + 1)
    with pytest.raises(Malformed, match="signatures"):
        unseal(changed(seal(DOCUMENTS[Intent], API), signatures=signatures), Intent, TRUST)


BLANKS = {
    "no reason": (BreakGlass, "reason", ""),
    "no actor": (BreakGlass, "actor", ""),
    "no service": (Desired, "service", ""),
    "a generation below nothing": (Desired, "generation", -1),
    "a generation beyond what can be counted": (Desired, "generation", (1 << 53) + 1),
    "an epoch of nobody": (Claim, "epoch", 0),
    "a digest that is none": (Desired, "plan_digest", "A" * 64),
    "a token for everybody": (Token, "nodes", "*"),
    "an action that installs": (BreakGlass, "action", "promote"),
}


@pytest.mark.parametrize(("kind", "field", "value"), BLANKS.values(), ids=BLANKS)
def test_a_blank_or_a_number_out_of_range_is_refused_however_well_it_is_signed(kind, field, value):
    """Google Cloud, 2025-06-12: a policy with blank fields was replicated everywhere in seconds."""
    payload = json.dumps(json.loads(encode(DOCUMENTS[kind])) | {field: value}).encode()
    role = next(iter(ROLES[kind]))
    sig = base64.b64encode(SIGNERS[role].sign(pae(payload_type(kind), payload))).decode()
    envelope = {
        "payloadType": payload_type(kind),
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": role.value, "sig": sig}],
    }
    with pytest.raises(Malformed) as raised:
        unseal(json.dumps(envelope).encode(), kind, TRUST)
    assert raised.value.path == field
