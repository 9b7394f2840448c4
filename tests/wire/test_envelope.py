import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import Malformed, decode_strict, encode
from tidegate.wire.documents import Claim, Enrolment, Heartbeat, Intent, KeyRole, Report, Root, Verb
from tidegate.wire.envelope import Refused, Signer, WrongFleet, pae, seal, trust_after, trust_of, unseal, unseal_root


def signer(name: str) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")))


SIGNERS = {role: signer(str(role)) for role in KeyRole}
NODE, OTHER_NODE, STRANGER = signer("node-n1"), signer("node-n2"), signer("stranger")
ROOT = Root(
    fleet="f",
    version=1,
    keys=tuple(one.public(role) for role, one in SIGNERS.items() if role is not KeyRole.NODE),
    issued_ms=0,
)


def enrolment(name, key):
    return Enrolment(fleet="f", node=name, key=key.public(KeyRole.NODE, name), issued_ms=0)


TRUST = trust_of(ROOT).with_enrolment(enrolment("n1", NODE)).with_enrolment(enrolment("n2", OTHER_NODE))
CLAIM = Claim(fleet="f", epoch=1, life="a", read_to=0, issued_ms=0)
REPORT = Report(fleet="f", node="n1", boot="b", counter=1, issued_ms=0, agent_version="t")
INTENT = Intent(id="i", fleet="f", subject="svc/shop", verb=Verb.PAUSE, generation=1, actor="ann", issued_ms=0)


def test_what_is_signed_is_dsse_1_0_2():
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_equal_documents_and_keys_give_equal_bytes():
    assert seal(CLAIM, SIGNERS[KeyRole.DECISION]) == seal(CLAIM, SIGNERS[KeyRole.DECISION])


@pytest.mark.parametrize(
    ("document", "entitled"),
    [
        (CLAIM, {KeyRole.DECISION}),
        (INTENT, {KeyRole.OPERATOR, KeyRole.API, KeyRole.GATE}),
        (REPORT, set()),
        (Heartbeat(fleet="f", epoch=1, life="a", seq=1, issued_ms=0, digest="0" * 64), {KeyRole.DECISION}),
    ],
)
@pytest.mark.parametrize("role", [role for role in KeyRole if role is not KeyRole.NODE])
def test_only_a_key_of_an_entitled_role_counts(document, entitled, role):
    envelope = seal(document, SIGNERS[role])
    if role in entitled:
        assert unseal(envelope, type(document), TRUST)[0] == document
    else:
        with pytest.raises(Refused):
            unseal(envelope, type(document), TRUST)


def test_a_node_speaks_for_itself_alone():
    assert unseal(seal(REPORT, NODE), Report, TRUST)[0] == REPORT
    with pytest.raises(Refused, match="n2 signed a report of node n1"):
        unseal(seal(REPORT, OTHER_NODE), Report, TRUST)


def test_a_retired_node_is_heard_no_more():
    record = seal(
        Enrolment(fleet="f", node="n1", key=NODE.public(KeyRole.NODE, "n1"), issued_ms=0, retired=True), SIGNERS[KeyRole.OPERATOR]
    )
    with pytest.raises(Refused):
        unseal(seal(REPORT, NODE), Report, trust_after(TRUST, "n1", record))


def test_a_document_for_another_fleet_is_refused_as_such():
    with pytest.raises(WrongFleet):
        unseal(seal(Claim(fleet="g", epoch=1, life="a", read_to=0, issued_ms=0), SIGNERS[KeyRole.DECISION]), Claim, TRUST)


def test_one_valid_signature_among_others_is_enough_and_the_key_id_is_only_a_hint():
    assert unseal(seal(CLAIM, STRANGER, SIGNERS[KeyRole.DECISION]), Claim, TRUST)[0] == CLAIM
    liar = Signer(SIGNERS[KeyRole.DECISION].key_id, STRANGER.private)
    with pytest.raises(Refused):
        unseal(seal(CLAIM, liar), Claim, TRUST)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_flipped_bit_gets_through(position, flip):
    envelope = bytearray(seal(CLAIM, SIGNERS[KeyRole.DECISION]))
    envelope[position % len(envelope)] ^= flip
    try:
        document, _ = unseal(bytes(envelope), Claim, TRUST)
    except (Malformed, Refused):
        return
    assert document == CLAIM


def resealed(payload: bytes) -> bytes:
    kind = "application/vnd.tidegate.claim+json;v=1"
    key = SIGNERS[KeyRole.DECISION]
    signature = base64.b64encode(key.private.sign(pae(kind, payload))).decode()
    signatures = [{"keyid": key.key_id, "sig": signature}]
    return json.dumps({"payloadType": kind, "payload": base64.b64encode(payload).decode(), "signatures": signatures}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        encode(CLAIM)[:-1] + b',"surprise":1}',  # an unknown field
        encode(CLAIM)[:-1] + b',"epoch":2}',  # a key twice
        encode(CLAIM).replace(b'"claim"', b'"heartbeat"'),  # another kind inside
        encode(CLAIM)[:-1],  # torn
        b"null",
    ],
)
def test_a_signed_document_is_read_strictly(payload):
    with pytest.raises(Malformed):
        unseal(resealed(payload), Claim, TRUST)


def test_a_new_key_document_must_be_signed_by_the_root_key_of_the_one_before():
    new_root = signer("new-root")
    later = Root(fleet="f", version=2, keys=(new_root.public(KeyRole.ROOT),), issued_ms=0)
    assert trust_after(TRUST, "2", seal(later, SIGNERS[KeyRole.ROOT])).root_version == 2
    assert trust_after(TRUST, "2", seal(later, SIGNERS[KeyRole.ROOT])).nodes() == {"n1", "n2"}
    with pytest.raises(Refused):
        unseal_root(seal(later, new_root), TRUST)
    assert trust_after(TRUST, "1", b"anything") is TRUST


@pytest.mark.parametrize("text", [b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b"{", b'{"a":1}x'])
def test_doubled_keys_and_torn_json_are_refused(text):
    with pytest.raises(Malformed):
        decode_strict(text, dict)
