"""The fold of exposures and outcomes: what counts, what does not, and that nothing but the log's order matters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.experiments.kit import BEGIN_MS, TRIAL, counted, did, folded, plainly, saw, told
from tests.golden import experiments

from tidegate.experiments import ExperimentState, restore, snapshot, step
from tidegate.experiments.fold import IDLE_MS, OVER_MS, RUNS_MAX, VALUE_MAX
from tidegate.experiments.snapshot import OLDEST, VERSION
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.experiments import sums_of, trial_text

PEOPLE = st.integers(0, 11)
EVENTS = st.lists(
    st.one_of(
        st.builds(saw, PEOPLE, st.sampled_from(["off", "on", "other"])),
        # Whole numbers: sums of them are exact, in whatever order.
        st.builds(
            did, PEOPLE, st.sampled_from(["bought", "paid", "looked"]), st.integers(-5, 9).map(float), at_ms=st.integers(1, 9)
        ),
    ),
    max_size=60,
)


@given(EVENTS)
def test_the_sums_are_what_one_counts(events):
    state = folded(events)
    nothing = dict.fromkeys(TRIAL.shares, (0, 0, [(0, 0.0, 0.0)] * 2))
    assert (plainly(told(state)) if state.runs else nothing) == counted(events)


@given(EVENTS, st.integers(0, 60))
def test_a_state_that_was_snapshot_and_restored_goes_on_as_if_nothing_had_happened(events, at):
    whole = folded(events)
    first = folded(events[:at])
    again = folded(events[at:], restore(snapshot(first), 3)) if events[:at] else folded(events)
    assert snapshot(again) == snapshot(whole)
    assert [told(again, name) for name in again.runs] == [told(whole, name) for name in whole.runs]


@given(EVENTS, st.data())
def test_what_is_sent_again_changes_nothing(events, data):
    events = [saw(0, "on"), *events]  # from the first exposure of all on, outcomes are remembered
    again = data.draw(st.lists(st.sampled_from(events), max_size=9))
    assert plainly(told(folded([*events, *again]))) == plainly(told(folded(events)))


def test_an_outcome_counts_from_the_first_exposure_on_and_once():
    state = folded([saw(9, "on"), did(1, "bought"), saw(1, "on"), did(1, "paid", 5.0), did(1, "paid", 5.0), did(1, "paid", 7.0)])
    assert plainly(told(state))["on"] == (2, 0, [(0, 0.0, 0.0), (1, 12.0, 144.0)])
    assert (state.tally.outcomes, state.tally.duplicate) == (3, 1)


def test_a_large_value_that_goes_again_takes_no_small_one_with_it():
    """Its square is 1e18, beside which a sum of floats loses what is below 128."""
    people = [event for number in range(2, 60) for event in (saw(number, "on"), did(number, "paid", 5.0))]
    rich = [saw(1, "on"), did(1, "paid", 1e9)]
    expected = plainly(told(folded(people)))["on"][2]
    for gone in (did(1, "paid", -1e9, at_ms=BEGIN_MS + 1), saw(1, "off")):
        users, total, squares = plainly(told(folded([*rich, *people, gone])))["on"][2][1]
        assert (total, squares) == expected[1][1:]
        assert users - expected[1][0] in (0, 1)


def test_a_run_that_nobody_is_exposed_to_counts_no_outcomes_and_begins_anew_when_it_is_declared_again():
    """Its flag may give everyone one variant by then: what the others do would count for the variant that they once had."""
    state = folded([saw(1, "off"), saw(2, "on"), did(1, "bought")])
    ended = plainly(told(state))
    folded([did(2, "bought")], state, every_ms=IDLE_MS + 1_000)
    assert (plainly(told(state)), state.tally.elsewhere) == (ended, 1)
    folded([saw(3, "on")], state, every_ms=OVER_MS)
    assert told(state).arms["on"].users == 2, "the same declaration as before goes on"
    folded([saw(4, "on", generation=9)], state, every_ms=OVER_MS + 1_000)
    assert plainly(told(state))["on"][0] == 1


def test_who_saw_two_variants_is_left_out_of_both_with_all_that_was_done():
    state = folded([saw(1, "off"), did(1, "paid", 3.0), saw(2, "off"), saw(1, "on"), did(1, "paid", 4.0), saw(1, "off")])
    assert plainly(told(state)) == {"off": (1, 1, [(0, 0.0, 0.0), (0, 0.0, 0.0)]), "on": (0, 0, [(0, 0.0, 0.0), (0, 0.0, 0.0)])}


def test_a_variant_that_is_not_compared_is_nobodys_and_doubles_nobody():
    state = folded([saw(1, "other"), saw(1, "on"), saw(1, "other")])
    assert plainly(told(state))["on"][:2] == (1, 0)


def test_what_is_of_no_experiment_is_passed_over():
    state = folded([saw(1, "on", trial=None), replace(saw(1, "on"), experiment="{"), did(1, "bought"), did(1, "looked")])
    assert (state.runs, state.tally.elsewhere) == ({}, 4)


def test_outcomes_join_the_experiments_of_their_set_alone():
    state = folded([saw(1, "on"), did(1, "bought", set_id="shop")])
    assert plainly(told(state))["on"][2][0] == (0, 0.0, 0.0)


def test_an_outcome_that_is_no_measurement_is_counted_and_not_added():
    state = folded([saw(1, "on"), did(1, "paid", 2 * VALUE_MAX)])
    assert state.tally.excessive == 1
    assert plainly(told(state))["on"][2][1] == (0, 0.0, 0.0)


def test_another_definition_begins_anew_and_what_came_late_of_the_old_one_is_passed_over():
    other = replace(TRIAL, run="0000000b")
    late = saw(3, "off", generation=4)
    state = folded([saw(1, "on"), saw(2, "off"), saw(1, "on", trial=other, generation=6), late])
    record = told(state)
    assert (record.trial, record.generation) == (other, 6)
    assert plainly(record)["on"][0] == 1
    assert state.tally.stale == 1


def test_a_kill_and_a_restore_of_the_same_definition_go_on_counting():
    state = folded([saw(1, "on", generation=4), saw(2, "on", generation=9)])
    assert (told(state).arms["on"].users, told(state).generation) == (2, 9)


def test_beyond_the_cap_nobody_is_admitted_and_those_who_are_in_count_on():
    state = ExperimentState(3, users_max=2)
    folded([saw(1, "on"), saw(2, "off"), saw(3, "on"), did(3, "paid", 9.0), did(1, "paid", 2.0), saw(2, "on")], state)
    record = told(state)
    assert record.refused == 1
    assert plainly(record) == {"off": (0, 1, [(0, 0.0, 0.0)] * 2), "on": (1, 0, [(0, 0.0, 0.0), (1, 2.0, 4.0)])}


def test_the_cap_is_of_all_experiments_together():
    state = ExperimentState(3, users_max=2)
    other = replace(TRIAL, name="basket")
    folded([saw(1, "on"), saw(1, "on", trial=other, flag="slow"), saw(2, "on", trial=other, flag="slow")], state)
    assert (told(state).refused, told(state, "basket").refused) == (0, 1)


def test_experiments_are_bounded_and_one_that_is_idle_gives_its_place_to_another():
    state = folded([saw(1, "on", trial=replace(TRIAL, name=f"e{at}")) for at in range(RUNS_MAX + 1)])
    assert len(state.runs) == RUNS_MAX
    assert state.tally.elsewhere == 1
    step(state, saw(1, "on", trial=replace(TRIAL, name="late")), state.now_ms + IDLE_MS)
    assert len(state.runs) == RUNS_MAX
    assert "late" in state.runs
    assert "e0" not in state.runs  # idle longest; its sums stand on the topic


def test_one_that_gave_way_is_told_no_more():
    """Its name among those that have changed ended the worker, and each successor."""
    state = folded([saw(1, "on", trial=replace(TRIAL, name=f"e{at}")) for at in range(RUNS_MAX)])
    step(state, did(1, "paid", 2.0), state.now_ms + IDLE_MS)
    assert "e0" in state.changed
    step(state, saw(1, "on", trial=replace(TRIAL, name="late")), state.now_ms + 1)
    assert state.changed == state.runs.keys()


def test_where_there_is_no_room_an_experiment_that_is_idle_keeps_its_sums_and_not_its_users():
    state = folded([saw(1, "on"), saw(2, "off")], ExperimentState(3, users_max=2))
    other = saw(3, "on", trial=replace(TRIAL, name="basket"))
    step(state, other, state.now_ms + IDLE_MS)
    assert told(state, "basket").refused == 1
    step(state, other, state.now_ms + 2)
    assert told(state, "basket").arms["on"].users == 1
    step(state, saw(4, "on"), state.now_ms)
    assert [arm.users for arm in told(state).arms.values()] == [1, 1]
    assert state.tally.stale == 1
    again = restore(snapshot(state), 3)
    assert (told(again), again.users) == (told(state), 1)


def test_the_past_is_bounded_and_holds_how_things_stood():
    state = folded([saw(at, "on") for at in range(2_000)])
    past = told(state).past
    assert 32 <= len(past) <= 64
    assert [point.at_ms for point in past] == sorted({point.at_ms for point in past})
    for point in past:
        _, (on, _) = point.arms
        assert on == pytest.approx((point.at_ms - BEGIN_MS) / 1_000, abs=1)  # one a second came


def test_a_record_on_the_topic_is_what_was_written():
    record = told(folded([saw(1, "on"), did(1, "paid", 2.5)]))
    assert sums_of(encode(record)) == record


NAMES = st.sampled_from(["off", "on", "", "x" * 256, "\u0000", "bought", "web"])
TRIALS = st.one_of(
    st.sampled_from(["", "{", "[]", '{"name": "checkout"}', trial_text(TRIAL), trial_text(replace(TRIAL, metrics=("a",)))]),
    st.builds(
        lambda run, shares: trial_text(replace(TRIAL, run=run, shares=shares)),
        st.sampled_from(["0000000a", "0000000b"]),
        st.dictionaries(NAMES, st.integers(1, 9), min_size=1, max_size=3),
    ),
)


@given(
    st.lists(
        st.one_of(
            st.builds(
                replace,
                st.builds(saw, PEOPLE, NAMES, generation=st.integers(0, 1 << 53)),
                experiment=TRIALS,
            ),
            st.builds(did, PEOPLE, NAMES, st.floats(allow_nan=False, allow_infinity=False)),
        ),
        max_size=30,
    )
)
def test_whatever_is_said_the_fold_goes_on_and_what_it_says_can_be_written_and_read(events):
    state = folded(events)
    for name in state.runs:
        assert sums_of(encode(told(state, name))) == told(state, name)
    assert snapshot(restore(snapshot(state), 3)) == snapshot(state)
    assert sum(getattr(state.tally, field) for field in state.tally.__struct_fields__) == len(events)


@pytest.mark.parametrize("version", range(OLDEST, VERSION + 1))
def test_a_checkpoint_of_each_version_goes_on_as_if_nothing_had_happened(version):
    begun = [*experiments.EVENTS[: experiments.PEOPLE], saw(0, "on")]
    rest = experiments.EVENTS[experiments.PEOPLE :]
    again = folded(rest, restore(experiments.state(version), 3))
    assert told(again) == told(folded([*begun, *rest]))


@pytest.mark.parametrize("torn", [b"", b"\xc1", b"\x80", b"\x82\xa7version\x09\xabreadable_by\x09"])
def test_a_snapshot_that_cannot_be_read_is_refused(torn):
    with pytest.raises(Malformed):
        restore(torn)
