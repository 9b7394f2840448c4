"""Rule E5: break-glass beats every desired not above the generation it names, and may only pause or roll back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.reconcile.conftest import Kit

from tidegate.reconcile.accept import Arrived, Heard, Refusal, accept, hear
from tidegate.reconcile.held import Accepted, Freeze, Held
from tidegate.reconcile.target import is_advance, target_of
from tidegate.wire.documents import BreakGlass, GlassAction, Move, Phase
from tidegate.wire.reasons import Reason

NOW_MS = 1_000_000
PAUSE, ROLLBACK = GlassAction.PAUSE, GlassAction.ROLLBACK
ONE, TWO = Kit.artifact("1"), Kit.artifact("2")


def glass(action: GlassAction, generation: int = 5, **fields) -> BreakGlass:
    fields = {"id": "g", "fleet": "test", "root_version": 1, "actor": "ann", "reason": "fire", "issued_ms": 1} | fields
    return BreakGlass(subject=Kit.SUBJECT, action=action, generation=generation, **fields)


def broken(one: BreakGlass, key: str = "") -> Arrived:
    return Arrived(key=key or f"breakglass/{Kit.SUBJECT}", document=one, signer=Kit.BREAKGLASS, digest="")


def heard_of(*arrivals: Arrived, plan=None, root_version: int = 1) -> Heard:
    heard = Heard(root_version=root_version)
    for arrived in (Kit.claim(), Kit.arrived(plan or Kit.plan()), Kit.arrived(Kit.roster()), *arrivals):
        heard, _ = hear(heard, arrived)
    return heard


def accepted(heard: Heard, held: Held | None = None) -> Accepted:
    found = accept(heard, Kit.SUBJECT, held or Held(), NOW_MS)
    assert isinstance(found, Accepted), found
    return found


def runs(found: Accepted, node: str):
    """The version a node owes; None: it keeps what it runs."""
    artifact = target_of(found, node).artifact
    return artifact.version if artifact is not None else None


ADVANCE = Kit.desired(4, cohorts=(Kit.canary(1), Kit.control(1)))
PROMOTED = Kit.desired(4, phase=Phase.DONE, move=Move.HOLD, cohorts=(), settled=TWO)
BACK = Kit.desired(4, phase=Phase.ROLLING_BACK, move=Move.RETREAT, cohorts=(Kit.canary(1),))
RETURNED = Kit.desired(4, phase=Phase.DONE, move=Move.HOLD, cohorts=())
LAST = Kit.desired(4, stage=2, phase=Phase.RUNNING, cohorts=(Kit.canary(8),), newcomers=TWO)

# what stands, what is asked, then what the canary, another node of the roster and a newcomer owe
EFFECTS = {
    "pause: nobody moves, the canary neither": (ADVANCE, PAUSE, (None, None, None)),
    "pause: nobody follows what was promoted": (PROMOTED, PAUSE, (None, None, None)),
    "pause: no newcomer follows the last stage": (LAST, PAUSE, (None, None, None)),
    "pause: a retreat goes on": (BACK, PAUSE, ("2", "1", "1")),
    "pause: who comes back late goes back": (RETURNED, PAUSE, ("1", "1", "1")),
    "rollback: of a canary": (ADVANCE, ROLLBACK, ("1", "1", "1")),
    "rollback: of what was promoted": (PROMOTED, ROLLBACK, ("1", "1", "1")),
    "rollback: of the last stage": (LAST, ROLLBACK, ("1", "1", "1")),
    "rollback: a retreat in batches is for everyone now": (BACK, ROLLBACK, ("1", "1", "1")),
}


@pytest.mark.parametrize(("document", "action", "versions"), EFFECTS.values(), ids=EFFECTS)
def test_what_nodes_owe_under_break_glass(document, action, versions):
    found = accepted(heard_of(Kit.arrived(document), broken(glass(action))))
    assert tuple(runs(found, node) for node in ("n0", "n5", "late")) == versions
    assert found.document.order == document.order
    assert not target_of(found, "n0").prefetch


@pytest.mark.parametrize("action", GlassAction)
def test_a_first_install_has_nothing_to_go_back_to_and_stops(action):
    plan = Kit.plan(first=True)
    found = accepted(heard_of(Kit.arrived(Kit.desired(4, plan=plan)), broken(glass(action)), plan=plan))
    assert [runs(found, node) for node in ("n0", "n5", "late")] == [None] * 3


@pytest.mark.parametrize(("generation", "beaten"), [(3, False), (4, True), (5, True)])
def test_it_beats_every_document_not_above_the_generation_it_names(generation, beaten):
    found = accepted(heard_of(Kit.arrived(ADVANCE), broken(glass(ROLLBACK, generation))))
    assert (found.document.move is Move.RETREAT, found.glass is not None) == (beaten, beaten)


def test_also_one_of_a_later_epoch():
    heard = heard_of(broken(glass(ROLLBACK, 9)), Kit.claim(2), Kit.arrived(Kit.desired(4, epoch=2)))
    assert accepted(heard).document.move is Move.RETREAT


def test_the_author_goes_on_above_it():
    held = Held(accepted=accepted(heard_of(Kit.arrived(ADVANCE), broken(glass(ROLLBACK)))))
    found = accepted(heard_of(broken(glass(ROLLBACK)), Kit.arrived(Kit.desired(6))), held)
    assert (found.glass, runs(found, "n0")) == (None, "2")


def test_it_is_news_once_and_again_only_when_it_asks_for_more():
    heard = heard_of(Kit.arrived(ADVANCE), broken(glass(PAUSE)))
    held = Held(accepted=accepted(heard))
    assert accept(heard, Kit.SUBJECT, held, NOW_MS) is None
    more, _ = hear(heard, broken(glass(ROLLBACK)))
    held = Held(accepted=accepted(more, held))
    assert runs(held.accepted, "n0") == "1"
    for less in (glass(PAUSE), glass(ROLLBACK, 4), glass(PAUSE, 3)):
        assert accept(heard_of(Kit.arrived(ADVANCE), broken(less)), Kit.SUBJECT, held, NOW_MS) is None


def test_it_holds_when_its_record_is_gone():
    held = Held(accepted=accepted(heard_of(Kit.arrived(ADVANCE), broken(glass(ROLLBACK)))))
    assert accept(heard_of(Kit.arrived(ADVANCE)), Kit.SUBJECT, held, NOW_MS) is None
    found = accepted(heard_of(Kit.arrived(Kit.desired(5))), held)
    assert runs(found, "n0") == "1"


def test_the_word_of_a_revoked_key_ends_with_the_key():
    """A stolen key may name a generation that nobody ever reaches: a later root version gives the fleet back."""
    held = Held(accepted=accepted(heard_of(Kit.arrived(ADVANCE), broken(glass(PAUSE, 1 << 53)))))
    after = replace(ADVANCE, root_version=2)
    assert runs(accepted(heard_of(Kit.arrived(after), root_version=2), held), "n0") == "2"
    # Its record counts on where the key still does.
    assert runs(accepted(heard_of(Kit.arrived(after), broken(glass(PAUSE, 1 << 53)), root_version=2), held), "n0") is None


def test_one_of_a_root_version_that_is_not_known_waits():
    records = Kit.arrived(ADVANCE), broken(glass(ROLLBACK)), broken(glass(PAUSE, 1 << 53, root_version=2))
    assert accepted(heard_of(*records)).document.move is Move.RETREAT
    assert accepted(heard_of(*records, root_version=2)).document.move is Move.HOLD


def test_it_is_obeyed_where_the_newest_document_is_refused_and_where_the_service_is_frozen():
    held = Held(accepted=accepted(heard_of(Kit.arrived(ADVANCE))))
    over = Kit.arrived(Kit.desired(5, cohorts=(Kit.canary(8),)))
    fork = Kit.arrived(replace(ADVANCE, released=7))
    for bad in (over, fork):
        for before in (held, replace(held, freeze=Freeze(why="two documents", epoch=1))):
            heard = heard_of(bad, broken(glass(ROLLBACK)))
            found = accepted(heard, before)
            assert runs(found, "n0") == "1"
            again = accept(heard, Kit.SUBJECT, replace(before, accepted=found), NOW_MS)
            assert isinstance(again, Refusal), "what is wrong with the newest one is said still"


def test_nothing_was_accepted_and_there_is_nothing_to_take_away_from():
    assert accept(heard_of(broken(glass(ROLLBACK))), Kit.SUBJECT, Held(), NOW_MS) is None


def test_it_stands_under_its_own_key():
    _, refusal = hear(heard_of(), broken(glass(ROLLBACK), key="breakglass/svc/other"))
    assert refusal is not None
    assert refusal.reason is Reason.BAD_DOCUMENT


def test_a_desired_document_signed_by_such_a_key_is_refused():
    _, refusal = hear(heard_of(), Kit.arrived(Kit.desired(), signer=Kit.BREAKGLASS))
    assert refusal is not None
    assert refusal.reason is Reason.NOT_ALLOWED


documents = st.builds(
    lambda generation, base: Kit.arrived(replace(base, generation=generation)),
    st.integers(1, 8),
    st.sampled_from([ADVANCE, PROMOTED, BACK, RETURNED, LAST]),
)
glasses = st.builds(lambda action, generation: broken(glass(action, generation)), st.sampled_from(GlassAction), st.integers(0, 9))


@settings(max_examples=300)
@given(st.lists(st.one_of(documents, glasses), max_size=12))
def test_under_break_glass_nobody_goes_forward_who_would_not_have_without(records):
    """Whatever is signed in whatever order: with break-glass a node owes what it would owe without, or less."""
    heard, held = heard_of(), Held()
    for record in records:
        heard, _ = hear(heard, record)
        found = accept(heard, Kit.SUBJECT, held, NOW_MS)
        if not isinstance(found, Accepted):
            continue
        assert held.accepted is None or found.document.order >= held.accepted.document.order
        held = Held(accepted=found)
        if found.glass is None:
            continue
        for node in ("n0", "n5", "late"):
            artifact = target_of(found, node).artifact
            calm = found.document.move is Move.RETREAT
            assert artifact is None or calm or not is_advance(found, artifact)
