"""Rules B3, B6, F1: what one node owes under an accepted document."""

import pytest

from tidegate.reconcile.held import Accepted
from tidegate.reconcile.target import CohortName, Target, target_of
from tidegate.wire.documents import Move, Phase


def accepted(kit, *, roster: bool = True, first: bool = False, **changes) -> Accepted:
    plan = kit.plan(first=first)
    document = kit.desired(plan=plan, **changes)
    return Accepted(document=document, digest="", plan=plan, roster=kit.roster() if roster else None)


def test_absence_of_a_document_asks_nothing():
    assert target_of(None, "n0") == Target()


@pytest.mark.parametrize(
    ("node", "cohort", "version", "token"),
    [
        ("n0", CohortName.CANARY, "2", "r.1"),
        ("n1", CohortName.CANARY, "2", "r.1"),
        ("n2", CohortName.CONTROL, "1", "r.1/1"),
        ("n3", CohortName.REST, "1", ""),
        ("n7", CohortName.REST, "1", ""),
        ("late", CohortName.REST, "1", ""),
    ],
)
def test_roster_positions_say_who_runs_what(kit, node, cohort, version, token):
    cohorts = (kit.canary(2, token="r.1"), kit.control(2, 1, token="r.1/1"))
    target = target_of(accepted(kit, cohorts=cohorts), node)
    assert (target.cohort, target.artifact.version, target.token) == (cohort, version, token)


def test_an_empty_target_means_nobody(kit):
    document = accepted(kit, first=True, cohorts=(), settled=None)
    assert all(target_of(document, node).artifact is None for node in kit.NODES)


def test_a_first_install_gives_the_canary_its_version_and_the_rest_nothing(kit):
    document = accepted(kit, first=True)
    assert target_of(document, "n0").artifact == kit.artifact("2")
    assert target_of(document, "n1").artifact is None


def test_newcomers_take_what_is_settled_until_the_document_names_them(kit):
    assert target_of(accepted(kit), "late").artifact == kit.artifact("1")
    assert target_of(accepted(kit, newcomers=kit.artifact("2")), "late").artifact == kit.artifact("2")
    assert target_of(accepted(kit, newcomers=kit.artifact("2")), "n5").artifact == kit.artifact("1")


def test_without_a_roster_everybody_takes_what_is_settled(kit):
    done = accepted(kit, roster=False, roster_digest="", cohorts=(), settled=kit.artifact("2"), phase=Phase.DONE, move=Move.HOLD)
    assert target_of(done, "anybody").artifact == kit.artifact("2")


def test_prefetch_brings_the_way_back_before_the_way_forward_and_only_to_the_roster(kit):
    document = accepted(kit, prefetch=True, cohorts=())
    assert [one.version for one in target_of(document, "n3").prefetch] == ["1", "2"]
    assert target_of(document, "late").prefetch == ()


def test_the_operator_says_where_an_artifact_comes_from(kit):
    document = accepted(kit, cohorts=(), settled=kit.artifact("1", uri="elsewhere"))
    assert target_of(document, "n0").artifact.uri == "1"
