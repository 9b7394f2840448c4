"""Rules E1, E2, E4, F1, F3: which document counts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tidegate.reconcile.accept import BODIES_KEPT, Heard, Refusal, accept, hear, void_claim
from tidegate.reconcile.held import Accepted, Freeze, Held
from tidegate.wire.documents import Move, Order, Phase, digest_of
from tidegate.wire.plans import Stage
from tidegate.wire.reasons import Reason

NOW_MS = 1_000_000


def fold(*arrivals) -> Heard:
    heard = Heard(root_version=1)
    for arrived in arrivals:
        heard, _ = hear(heard, arrived)
    return heard


def bodies(kit):
    return kit.claim(), kit.arrived(kit.plan()), kit.arrived(kit.roster())


def judge(kit, *arrivals, held: Held | None = None, now_ms: int = NOW_MS):
    return accept(fold(*bodies(kit), *arrivals), kit.SUBJECT, held or Held(), now_ms)


def test_a_document_with_plan_roster_and_author_is_accepted(kit):
    found = judge(kit, kit.arrived(kit.desired()))
    assert isinstance(found, Accepted)
    assert (found.document, found.plan, found.roster) == (kit.desired(), kit.plan(), kit.roster())


def test_nothing_heard_is_no_news(kit):
    assert judge(kit) is None


def test_the_same_document_again_is_no_news(kit):
    first = judge(kit, kit.arrived(kit.desired()))
    assert judge(kit, kit.arrived(kit.desired()), held=Held(accepted=first)) is None


def test_the_order_in_which_bodies_and_document_arrive_does_not_matter(kit):
    desired, plan, roster = (kit.arrived(one) for one in (kit.desired(), kit.plan(), kit.roster()))
    assert isinstance(accept(fold(kit.claim(), desired, roster, plan), kit.SUBJECT, Held(), NOW_MS), Accepted)


REFUSED = {
    "a smaller generation than the one accepted": ({"generation": 3}, Reason.STALE_GENERATION),
    "an advance whose time is over": ({"generation": 5, "expires_ms": NOW_MS}, Reason.EXPIRED),
    "a plan that has not been read": ({"generation": 5, "plan_digest": "0" * 64}, Reason.UNKNOWN),
    "a roster that has not been read": ({"generation": 5, "roster_digest": "0" * 64}, Reason.UNKNOWN),
    "cohorts without a roster": ({"generation": 5, "roster_digest": ""}, Reason.BAD_DOCUMENT),
    "more stages than the plan has": ({"generation": 5, "stage": 3}, Reason.NOT_ALLOWED),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(kit, changes, reason):
    held = Held(accepted=judge(kit, kit.arrived(kit.desired(4))))
    found = judge(kit, kit.arrived(kit.desired(**changes)), held=held)
    assert isinstance(found, Refusal)
    assert found.reason is reason
    assert kit.SUBJECT in found.sentence


def test_a_document_of_a_root_version_that_is_not_known_does_not_stand_before_what_the_author_says_now(kit):
    """Signed by a stolen key it would be the greatest of all until somebody rotates keys."""
    heard = fold(*bodies(kit), kit.arrived(kit.desired()))
    after, refusal = hear(heard, kit.arrived(kit.desired(5, root_version=2)))
    assert (after, refusal.reason) == (heard, Reason.UNKNOWN)


def test_versions_outside_the_plan_are_refused_whoever_signed(kit):
    stranger = kit.artifact("3")
    for changes in (
        {"settled": stranger},
        {"newcomers": stranger},
        {"settled": kit.artifact("1", sha256="f" * 64)},
        {"settled": kit.artifact("1", config_sha256="f" * 64)},
        {"cohorts": (kit.canary(version="3"),)},
        {"plan_digest": "", "cohorts": ()},
    ):
        found = judge(kit, kit.arrived(kit.desired(**changes)))
        assert isinstance(found, Refusal), changes
        assert found.reason is Reason.NOT_ALLOWED, changes


@pytest.mark.parametrize(
    ("stage", "count", "allowed"), [(0, 1, True), (0, 2, False), (1, 4, True), (1, 5, False), (2, 8, True), (2, 9, False)]
)
def test_a_stage_of_the_plan_caps_the_canary(kit, stage, count, allowed):
    found = judge(kit, kit.arrived(kit.desired(stage=stage, cohorts=(kit.canary(count),))))
    assert isinstance(found, Accepted) is allowed


@pytest.mark.parametrize(
    ("stage", "count", "allowed"), [(0, 3, True), (0, 4, False), (1, 5, True), (1, 6, False), (2, 1, False), (3, 8, True)]
)
def test_a_stage_of_waves_caps_the_canary_by_the_counts_in_the_roster(kit, stage, count, allowed):
    """Stage 2 names a wave that the roster does not count: nobody is of it."""
    stages = (*(Stage(set_wave=number) for number in (1, 2, 3)), Stage(set_weight=100))
    plan, roster = kit.plan(stages=stages), replace(kit.roster(), waves=(3, 5))
    document = kit.desired(plan=plan, stage=stage, roster_digest=digest_of(roster), cohorts=(kit.canary(count),))
    arrivals = [kit.claim(), *map(kit.arrived, (plan, roster, document))]
    assert isinstance(accept(fold(*arrivals), kit.SUBJECT, Held(), NOW_MS), Accepted) is allowed


def test_only_the_canary_from_the_first_position_gets_the_new_version(kit):
    for cohort in (kit.control(version="2"), kit.canary(first=1)):
        found = judge(kit, kit.arrived(kit.desired(stage=2, cohorts=(cohort,))))
        assert isinstance(found, Refusal)
        assert found.reason is Reason.NOT_ALLOWED


@pytest.mark.parametrize(("move", "accepted"), [(Move.ADVANCE, False), (Move.HOLD, True), (Move.RETREAT, True)])
def test_only_advances_expire(kit, move, accepted):
    found = judge(kit, kit.arrived(kit.desired(move=move, expires_ms=NOW_MS - 1)))
    assert isinstance(found, Accepted) is accepted


def test_an_advance_ends_with_its_plan(kit):
    plan = kit.plan(expires_ms=NOW_MS)
    heard = fold(kit.claim(), kit.arrived(plan), kit.arrived(kit.roster()), kit.arrived(kit.desired(plan=plan)))
    found = accept(heard, kit.SUBJECT, Held(), NOW_MS)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.EXPIRED


def test_old_plans_and_rosters_that_are_sent_again_do_not_push_out_those_that_count(kit):
    old = [kit.arrived(kit.plan(id=f"old{index}")) for index in range(BODIES_KEPT + 1)]
    old += [kit.arrived(replace(kit.roster(), rollout=f"old{index}")) for index in range(BODIES_KEPT + 1)]
    heard = fold(*bodies(kit), kit.arrived(kit.desired()), *old)
    assert isinstance(accept(heard, kit.SUBJECT, Held(), NOW_MS), Accepted)
    assert len(heard.plans[kit.SUBJECT]) <= BODIES_KEPT + 1


def test_a_roster_that_was_accepted_before_need_not_be_read_again(kit):
    """After a rotation the record of it is one by a key that counts no more, until the author says it again."""
    held = Held(accepted=judge(kit, kit.arrived(kit.desired())))
    heard = fold(kit.claim(), kit.arrived(kit.plan()), kit.arrived(kit.desired(2)))
    assert isinstance(accept(heard, kit.SUBJECT, held, NOW_MS), Accepted)
    assert isinstance(accept(heard, kit.SUBJECT, Held(), NOW_MS), Refusal)


def test_equal_order_with_another_digest_keeps_the_first_and_freezes(kit):
    first, second = kit.desired(), kit.desired(cohorts=(kit.canary(), kit.control()))
    held = Held(accepted=judge(kit, kit.arrived(first)))
    for found in (
        judge(kit, kit.arrived(first), kit.arrived(second)),
        judge(kit, kit.arrived(first), kit.arrived(second), held=held),
        judge(kit, kit.arrived(second), held=held),
    ):
        assert isinstance(found, Refusal)
        assert found.freeze


def test_a_frozen_service_takes_no_advance_but_a_retreat(kit):
    held = Held(freeze=Freeze(why="two documents", epoch=1))
    assert isinstance(judge(kit, kit.arrived(kit.desired()), held=held), Refusal)
    retreat = kit.desired(move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())
    assert isinstance(judge(kit, kit.arrived(retreat), held=held), Accepted)


AUTHORSHIP = {
    "no claim, no author": (["d1"], None),
    "the claimed epoch counts": (["c1", "d1"], Order(1, 1, 1)),
    "a document before its claim is void": (["d1", "c1"], None),
    "a later epoch voids what comes after it": (["c1", "c2", "d1"], None),
    "what an older epoch wrote before the claim stands": (["c1", "d1", "c2"], Order(1, 1, 1)),
    "the new epoch's document beats it": (["c1", "d1", "c2", "d2"], Order(1, 2, 1)),
    "a zombie after the takeover changes nothing": (["c1", "c2", "d2", "d1"], Order(1, 2, 1)),
    "a second claim for an epoch loses": (["c1", "x1", "d1"], Order(1, 1, 1)),
    "the author of the second claim is nobody": (["c1", "x1", "xd1"], None),
    "the first claim wins, whoever made it": (["x1", "c1", "d1"], None),
    "an older claim is no claim": (["c2", "c1", "d1"], None),
    "who claims after a claim that does not count leads by no epoch that it names": (["claim/1/gone", "c1", "d1"], None),
    "who claims after a claim under a strange key, neither": (["m1", "c1", "d1"], None),
    "beyond it, one leads": (["claim/1/gone", "c2", "d2"], Order(1, 2, 1)),
    "a claim that does not count takes nothing from who leads": (["c1", "claim/2/gone", "d1"], Order(1, 1, 1)),
    "one far beyond all others names nothing": (["claim/999999/gone", "c1", "d1"], Order(1, 1, 1)),
    "one that names no number names nothing": (["claim/x/gone", "claim//", "claim/²/gone", "c1", "d1"], Order(1, 1, 1)),
}


@pytest.mark.parametrize(("records", "order"), AUTHORSHIP.values(), ids=AUTHORSHIP)
def test_authorship(kit, records, order):
    known = {
        "c1": kit.claim(1),
        "c2": kit.claim(2),
        "x1": kit.claim(1, kit.OTHER_KEY),
        "d1": kit.arrived(kit.desired()),
        "d2": kit.arrived(kit.desired(epoch=2)),
        "xd1": kit.arrived(kit.desired(), signer=kit.OTHER_KEY),
        "m1": replace(kit.claim(1), key="claim/1/other"),
    }
    heard = fold()
    for record in records:
        heard = hear(heard, known[record])[0] if record in known else void_claim(heard, record)
    candidate = heard.candidates.get(kit.SUBJECT)
    assert (candidate.document.order if candidate else None) == order


CLAIMS = {
    "the first for an epoch": ([], "c1", None),
    "one that lost the race": (["c1"], "x1", None),
    "one of an older epoch": (["c2"], "c1", None),
    "one for an epoch that is spent": (["claim/1/gone"], "c1", None),
    "one under a strange key": ([], "m1", Reason.BAD_DOCUMENT),
}


@pytest.mark.parametrize(("before", "claim", "reason"), CLAIMS.values(), ids=CLAIMS)
def test_a_claim_that_only_lost_is_no_fault(kit, before, claim, reason):
    """Each takeover by two that stood by was counted as a refusal on every node, and woke people."""
    known = {"c1": kit.claim(1), "c2": kit.claim(2), "x1": kit.claim(1, kit.OTHER_KEY)}
    known["m1"] = replace(known["c1"], key="claim/1/other")
    heard = fold()
    for record in before:
        heard = hear(heard, known[record])[0] if record in known else void_claim(heard, record)
    _, refusal = hear(heard, known[claim])
    assert (refusal.reason if refusal else None) == reason


def test_documents_under_a_strange_key_are_refused(kit):
    heard = fold(kit.claim())
    for arrived in (
        kit.arrived(kit.desired(), key="svc/other"),
        kit.arrived(kit.plan(), key="plan/svc/other"),
        kit.arrived(kit.roster(), key="roster/svc/other"),
        kit.arrived(kit.desired(service="other")),
        kit.arrived(kit.desired(), signer=kit.BREAKGLASS),
    ):
        after, refusal = hear(heard, arrived)
        assert (after, refusal is None) == (heard, False)


ORDERS = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2))


@given(records=st.lists(st.one_of(st.integers(1, 3), ORDERS), max_size=25), looks=st.sets(st.integers(0, 25)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_arrives_the_accepted_order_never_regresses_and_never_forks(kit, records, looks):
    """Claims and documents in any order, with forks of equal order among them, looked at in any batches."""
    heard, held, digests = fold(kit.arrived(kit.plan()), kit.arrived(kit.roster())), Held(), {}
    for index, record in enumerate(records):
        if isinstance(record, int):
            arrived = kit.claim(record)
        else:
            epoch, generation, fork = record
            arrived = kit.arrived(kit.desired(generation, epoch, released=fork))
        heard, _ = hear(heard, arrived)
        if index not in looks:
            continue
        found = accept(heard, kit.SUBJECT, held, NOW_MS)
        if isinstance(found, Accepted):
            order = found.document.order
            assert held.accepted is None or order > held.accepted.document.order
            assert digests.setdefault(order, found.digest) == found.digest
            held = replace(held, accepted=found)
