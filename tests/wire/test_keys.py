"""Rules H1, H3: whose keys count after which records."""

import base64
import json
from itertools import islice, permutations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Enrolment, KeyRole, PublicKey, Report, Root, Token, digest
from tidegate.wire.envelope import Refused, Signer, Trust, pae, payload_type, seal, unseal
from tidegate.wire.keys import EARLY_BYTES_MAX, enrolment_key, links, trust_after, trust_of, unseal_root


def signer(name: str) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(digest(name.encode()))))


ROOT_1, ROOT_2, ROOT_3 = (signer(f"root-{index}") for index in (1, 2, 3))
OPERATOR, DECISION, OTHER = signer("operator"), signer("decision"), signer("other")
TOKEN, LATE = signer("join-1"), signer("join-2")


def root(version: int = 1, *roots: Signer, **fields) -> Root:
    beside = (OPERATOR.public(KeyRole.OPERATOR), DECISION.public(KeyRole.DECISION))
    keys = (*(one.public(KeyRole.ROOT) for one in roots or (ROOT_1,)), *beside)
    return Root(**({"fleet": "f", "version": version, "keys": keys, "issued_ms": 1} | fields))


FIRST = trust_of(root())


def node_key(node: str, name: str = "") -> PublicKey:
    return signer(name or f"node-{node}").public(KeyRole.NODE, node)


def enrolment(node: str, issued_ms: int = 1, **fields) -> Enrolment:
    return Enrolment(**({"fleet": "f", "node": node, "key": node_key(node), "issued_ms": issued_ms} | fields))


def token(who: Signer = TOKEN, nodes: str = "web-*", expires_ms: int = 100) -> Token:
    return Token(fleet="f", key=who.public(KeyRole.JOIN), nodes=nodes, expires_ms=expires_ms, issued_ms=1)


def enrolled(trust: Trust, one: Enrolment, by: Signer = OPERATOR, key: str | None = None) -> Trust:
    return trust_after(trust, one.node if key is None else key, seal(one, by), 1)


def joined(trust: Trust, one: Enrolment, by: Signer = TOKEN, time_ms: int = 50) -> Trust:
    return trust_after(trust, enrolment_key(one, joined=True), seal(one, by), time_ms)


def with_token(trust: Trust = FIRST, one: Token | None = None) -> Trust:
    one = one or token()
    return trust_after(trust, f"token/{one.key.id}", seal(one, OPERATOR), 1)


def rotated(trust: Trust, document: Root, *signers: Signer) -> Trust:
    return trust_after(trust, str(document.version), seal(document, *signers), 1)


# the chain


def test_the_next_key_document_is_signed_by_the_one_before_and_by_itself():
    after = rotated(FIRST, root(2, ROOT_2), ROOT_1, ROOT_2)
    assert (after.root_version, "root-1" in after.keys, "root-2" in after.keys) == (2, False, True)
    assert rotated(after, root(3, ROOT_3), ROOT_2, ROOT_3).root_version == 3


AS_ROOT = ROOT_1.public(KeyRole.ROOT)
UNSOUND = {
    "signed by the new key alone": (root(2, ROOT_2), (ROOT_2,)),
    "signed by the old key alone": (root(2, ROOT_2), (ROOT_1,)),
    "signed by an operator": (root(2, ROOT_2), (OPERATOR, ROOT_2)),
    "signed by nobody": (root(2), ()),
    "signed by a borrowed name": (root(2), (Signer("root-1", OTHER.private),)),
    "of another fleet": (root(2, fleet="staging"), (ROOT_1,)),
    "two keys of one id": (
        root(2, keys=(AS_ROOT, replace(OTHER.public(KeyRole.API), id="root-1"))),
        (ROOT_1,),
    ),
    "one key in two roles": (
        root(2, keys=(AS_ROOT, OTHER.public(KeyRole.DECISION), replace(OTHER.public(KeyRole.API), id="api"))),
        (ROOT_1,),
    ),
    "a node among the fleet's keys": (root(2, keys=(AS_ROOT, node_key("n1"))), (ROOT_1,)),
    "a token among the fleet's keys": (root(2, keys=(AS_ROOT, TOKEN.public(KeyRole.JOIN))), (ROOT_1,)),
    "more signatures asked for than there are keys": (root(2, threshold=2), (ROOT_1,)),
    "a key that it revokes": (root(2, revoked=(OPERATOR.public(KeyRole.OPERATOR).public,)), (ROOT_1,)),
    "no root key at all": (root(2, keys=(OPERATOR.public(KeyRole.OPERATOR),)), (ROOT_1,)),
}


@pytest.mark.parametrize(("document", "signers"), UNSOUND.values(), ids=UNSOUND)
def test_any_other_key_document_is_refused(document, signers):
    with pytest.raises(Refused):
        rotated(FIRST, document, *signers)


def test_a_key_document_that_is_not_newer_changes_nothing():
    after = rotated(FIRST, root(2, ROOT_2), ROOT_1, ROOT_2)
    assert trust_after(after, "1", seal(root(), ROOT_1), 1) is after
    assert trust_after(after, "2", b"anything", 1) is after


def test_nothing_of_a_key_document_is_read_before_the_root_keys_of_the_one_before_have_signed_it():
    payload = b"[" * 100_000
    sig = base64.b64encode(OTHER.sign(pae(payload_type(Root), payload))).decode()
    envelope = {"payloadType": payload_type(Root), "payload": base64.b64encode(payload).decode()}
    with pytest.raises(Refused):
        trust_after(FIRST, "2", json.dumps(envelope | {"signatures": [{"keyid": "root-1", "sig": sig}]}).encode(), 1)


def test_a_key_document_under_another_number_counts_never():
    third = seal(root(3), ROOT_1)
    with pytest.raises(Refused, match="does not follow"):
        trust_after(FIRST, "2", third, 1)
    trust = trust_after(FIRST, "3", seal(root(2), ROOT_1), 1)
    assert trust.root_version == 1
    assert trust_after(trust, "2", seal(root(2), ROOT_1), 1) == trust_of(root(2))


def test_where_a_link_is_left_out_nothing_of_the_next_one_counts():
    trust = rotated(FIRST, root(3), ROOT_1)
    assert replace(trust, early={}) == FIRST


CHAIN = tuple((str(version), seal(root(version), ROOT_1)) for version in range(2, 7))


@pytest.mark.parametrize("order", [*islice(permutations(CHAIN), 0, None, 7), CHAIN[::-1]], ids=str)
def test_in_whatever_order_the_links_stand_the_chain_is_followed_to_its_end(order):
    """Story 2081840: a link was sent again, and compaction left it behind its successors: the fleet had no author ever again."""
    trust, found = FIRST, []
    for key, value in order:
        after = trust_after(trust, key, value, 1)
        found += links(trust, after, value)
        trust = after
    assert trust == trust_of(root(6))
    assert found == list(CHAIN)


@pytest.mark.parametrize("bad", [b"garbage", seal(root(3), OTHER), seal(root(4), ROOT_1)])
def test_what_waited_and_does_not_follow_is_dropped_and_its_true_one_counts_still(bad):
    trust = trust_after(trust_after(FIRST, "3", bad, 1), "4", seal(root(4), ROOT_1), 1)
    trust = trust_after(trust, "2", seal(root(2), ROOT_1), 1)
    assert (trust.root_version, set(trust.early)) == (2, {4})
    assert trust_after(trust, "3", seal(root(3), ROOT_1), 1) == trust_of(root(4))


def test_what_waits_takes_no_more_room_than_one_document_and_the_next_ones_keep_theirs():
    half = b"x" * (EARLY_BYTES_MAX // 2)
    trust = FIRST
    for version in (900, 3, 800, 4, 700, 5, 10**9):
        trust = trust_after(trust, str(version), half, 1)
    assert set(trust.early) == {3, 4}


@pytest.mark.parametrize("signed", [(), (ROOT_1,), (ROOT_1, ROOT_1), (ROOT_1, Signer("root-2", ROOT_1.private))])
def test_fewer_root_keys_than_the_threshold_are_not_enough_and_one_counts_once(signed):
    two = trust_of(root(1, ROOT_1, ROOT_2, ROOT_3, threshold=2))
    with pytest.raises(Refused):
        rotated(two, root(2, ROOT_1, ROOT_2, ROOT_3, threshold=2), *signed)


def test_the_threshold_of_the_document_before_and_its_own_are_both_met():
    two = trust_of(root(1, ROOT_1, ROOT_2, threshold=2))
    lowered = root(2, ROOT_3)
    for signed in ((ROOT_1, ROOT_3), (ROOT_1, ROOT_2)):
        with pytest.raises(Refused):
            rotated(two, lowered, *signed)
    assert rotated(two, lowered, ROOT_1, ROOT_2, ROOT_3).threshold == 1


def test_a_first_root_is_trusted_only_when_its_own_root_keys_signed_it():
    assert unseal_root(seal(root(), ROOT_1), None) == root()
    for document, signers in ((root(), (OPERATOR,)), (root(1, ROOT_1, ROOT_2, threshold=2), (ROOT_1,))):
        with pytest.raises(Refused):
            unseal_root(seal(document, *signers), None)


def test_a_key_document_of_the_first_release_is_read_still():
    old = json.loads(seal(root(), ROOT_1))
    assert set(json.loads(base64.b64decode(old["payload"]))) == {"kind", "fleet", "version", "keys", "issued_ms"}


@pytest.mark.parametrize("key", ["\u00b2", "\u0663", "0", "01", "1" * 5_000, "-1", "", "1\n", "token/", "a/b/c", "\ud800"])
def test_no_key_of_a_record_ends_a_reader(key):
    """``str.isdigit`` holds for signs that ``int`` cannot read: one record ended every node and every decision agent."""
    for value in (b"", b"{}", seal(root(2), ROOT_1), seal(enrolment("n1"), OPERATOR)):
        with pytest.raises((Malformed, Refused)):
            trust_after(FIRST, key, value, 1)


# nodes


def test_a_node_is_enrolled_replaced_and_retired():
    trust = enrolled(FIRST, enrolment("n1"))
    assert trust.nodes() == {"n1"}
    replaced = enrolled(trust, enrolment("n1", 2, key=node_key("n1", "anew")))
    assert ("anew" in replaced.keys, "node-n1" in replaced.keys) == (True, False)
    retired = enrolled(replaced, enrolment("n1", 3, key=node_key("n1", "anew"), retired=True))
    assert (retired.nodes(), "anew" in retired.keys) == (frozenset(), False)


def test_an_enrolment_of_before_does_not_bring_a_retired_node_or_a_replaced_key_back():
    first = seal(enrolment("n1"), OPERATOR)
    trust = enrolled(enrolled(FIRST, enrolment("n1")), enrolment("n1", 2, retired=True))
    with pytest.raises(Refused, match="not later"):
        trust_after(trust, "n1", first, 9)


FOREIGN = {
    "a key that decides": enrolment("n1", key=OTHER.public(KeyRole.DECISION, "n1")),
    "a root key": enrolment("n1", key=OTHER.public(KeyRole.ROOT, "n1")),
    "the key of another node": enrolment("n1", key=node_key("n2")),
    "a key of no node": enrolment("n1", key=OTHER.public(KeyRole.NODE)),
    "a key that is called as the decision agent's": enrolment("n1", key=replace(node_key("n1"), id="decision")),
}


@pytest.mark.parametrize("one", FOREIGN.values(), ids=FOREIGN)
def test_an_enrolment_names_a_key_of_its_node_and_nothing_else(one):
    """An operator's key that was stolen enrolled a decision key of the thief's."""
    with pytest.raises(Refused):
        enrolled(FIRST, one)


def test_an_enrolment_stands_under_its_own_name():
    with pytest.raises(Refused, match="under key n2"):
        enrolled(FIRST, enrolment("n1"), key="n2")


def test_a_node_does_not_take_the_key_name_of_another():
    trust = enrolled(FIRST, enrolment("n1"))
    with pytest.raises(Refused, match="as another one"):
        enrolled(trust, enrolment("n2", key=replace(node_key("n2"), id="node-n1")))


def test_nodes_stay_enrolled_when_keys_rotate_and_a_revoked_key_counts_no_more():
    trust = enrolled(enrolled(FIRST, enrolment("n1")), enrolment("n2"))
    report = Report(fleet="f", node="n1", boot="b", counter=1, issued_ms=1, agent_version="1")
    rotating = rotated(trust, root(2), ROOT_1)
    assert unseal(seal(report, signer("node-n1")), Report, rotating)[0] == report
    revoking = rotated(rotating, root(3, revoked=(node_key("n1").public,)), ROOT_1)
    assert revoking.nodes() == {"n2"}
    with pytest.raises(Refused):
        unseal(seal(report, signer("node-n1")), Report, revoking)
    with pytest.raises(Refused, match="revoked"):
        enrolled(revoking, enrolment("n1", 9))
    assert enrolled(revoking, enrolment("n1", 9, key=node_key("n1", "anew"))).nodes() == {"n1", "n2"}


# tokens


def test_who_holds_a_token_enrols_nodes_of_its_names():
    trust = joined(with_token(), enrolment("web-1"))
    assert joined(trust, enrolment("web-2")).nodes() == {"web-1", "web-2"}
    assert joined(trust, enrolment("web-1")) is trust


BEYOND_TOKEN = {
    "another name": (enrolment("db-1"), TOKEN, 50),
    "too late": (enrolment("web-1"), TOKEN, 100),
    "retiring": (enrolment("web-1", retired=True), TOKEN, 50),
    "a token nobody made": (enrolment("web-1"), LATE, 50),
    "a key that decides": (enrolment("web-1", key=OTHER.public(KeyRole.DECISION, "web-1")), TOKEN, 50),
    "the place of a node": (enrolment("web-9", 9, key=node_key("web-9", "thief")), TOKEN, 50),
    "the place of a retired node": (enrolment("web-8", 9), TOKEN, 50),
}


@pytest.mark.parametrize(("one", "by", "time_ms"), BEYOND_TOKEN.values(), ids=BEYOND_TOKEN)
def test_a_token_does_nothing_else(one, by, time_ms):
    trust = enrolled(with_token(), enrolment("web-9"))
    trust = enrolled(enrolled(trust, enrolment("web-8")), enrolment("web-8", 2, retired=True))
    with pytest.raises(Refused):
        joined(trust, one, by, time_ms)


def test_a_second_enrolment_by_a_token_cannot_evict_the_first():
    first, second = enrolment("web-1"), enrolment("web-1", 2, key=node_key("web-1", "thief"))
    assert enrolment_key(first, joined=True) != enrolment_key(second, joined=True)
    with pytest.raises(Refused):
        trust_after(with_token(), "web-1", seal(first, TOKEN), 50)


def test_a_revoked_token_enrols_nobody_and_who_was_taken_over_by_an_operator_stays():
    trust = joined(with_token(), enrolment("web-1"))
    revoking = root(2, revoked=(TOKEN.public(KeyRole.JOIN).public,))
    live = rotated(trust, revoking, ROOT_1)
    with pytest.raises(Refused):
        joined(live, enrolment("web-2"))
    # Whoever starts with the newer document refuses the token and what it did; the operator's record of the same says it again.
    cold = trust_of(revoking)
    for key, value in (("token/join-1", seal(token(), OPERATOR)), ("web-1/x", seal(enrolment("web-1"), TOKEN))):
        with pytest.raises(Refused):
            trust_after(cold, key, value, 50)
    assert enrolled(cold, enrolment("web-1")).nodes() == live.nodes() == {"web-1"}


@pytest.mark.parametrize(
    "one",
    [
        replace(token(), key=OTHER.public(KeyRole.OPERATOR)),
        replace(token(), key=replace(TOKEN.public(KeyRole.JOIN), id="operator")),
        replace(token(), fleet="staging"),
    ],
    ids=["an operator", "an operator's name", "another fleet"],
)
def test_a_token_is_a_token(one):
    with pytest.raises(Refused):
        with_token(one=one)


@pytest.mark.parametrize("by", [DECISION, OTHER, TOKEN])
def test_only_operators_and_root_make_tokens(by):
    with pytest.raises(Refused):
        trust_after(FIRST, "token/join-1", seal(token(), by), 1)


# all of it


RECORDS = {
    "root 2": ("2", seal(root(2, ROOT_2), ROOT_1, ROOT_2)),
    "root 3": ("3", seal(root(3, ROOT_3, revoked=(node_key("n1").public,)), ROOT_2, ROOT_3)),
    "fork": ("2", seal(root(2, OTHER), OTHER)),
    "n1": ("n1", seal(enrolment("n1"), OPERATOR)),
    "n1 retired": ("n1", seal(enrolment("n1", 5, retired=True), OPERATOR)),
    "token": ("token/join-1", seal(token(), OPERATOR)),
    "web-1": (enrolment_key(enrolment("web-1"), joined=True), seal(enrolment("web-1"), TOKEN)),
    "thief": ("n2", seal(enrolment("n2", key=OTHER.public(KeyRole.DECISION, "n2")), OPERATOR)),
}


@given(st.lists(st.sampled_from(sorted(RECORDS)), max_size=12))
def test_versions_never_go_back_and_only_key_documents_name_keys_that_command(names):
    trust = FIRST
    for name in names:
        before = trust
        try:
            trust = trust_after(trust, *RECORDS[name], 50)
        except (Malformed, Refused):
            continue
        assert trust.root_version - before.root_version in (0, 1)
        commanding = {key for key in trust.keys.values() if key.role not in (KeyRole.NODE, KeyRole.JOIN)}
        assert "thief" not in trust.nodes()
        assert OTHER.public(KeyRole.ROOT).public not in {key.public for key in commanding}
        if trust.root_version == 3:
            assert "n1" not in trust.nodes()
