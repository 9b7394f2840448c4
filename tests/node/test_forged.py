"""10,000 documents that must change nothing, between 1,000 that must count (``tests.prove.forged`` does ten times as many)."""

from tests.prove.forged import KINDS, run


def test_nothing_forged_mutated_cross_role_expired_replayed_or_misaddressed_is_accepted_and_nothing_valid_refused():
    found = run(1_000, seed=7)
    assert (found["invalid"], found["invalid_accepted"]) == (10_000, 0)
    assert (found["valid"], found["valid_refused"]) == (1_000, 0)
    assert set(found["invalid_by_kind"]) == set(KINDS)
    assert found["key_documents"] == 3
