"""Slices of flags through the fold (G3): judged by subject and service, with KPIs by variant, and no part of anything else."""

import random

import msgspec
import pytest
from msgspec.structs import replace
from tests.judge.test_fold import CANARY, context, play
from tests.kpi.rows import T0, histogram, idle, record, row

from tidegate.judge import JudgeState, restore, snapshot
from tidegate.kpi import caps, flags
from tidegate.wire.judgement import Outcome
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import Action, Guardrail
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState, Slice, Source

DARK, OTHER = "flag/web/dark", "flag/web/other"
SECONDS = 25
LIMIT = Guardrail(metric="errorRatio", max=0.02)


def flag(subject=DARK, service="shop", **fields):
    """What decide says of a ramp in its first stage."""
    cohorts = (
        CohortMembers(name="canary", version="c0ffee", variants=("new", "newer")),
        CohortMembers(name="control", version="safe", variants=("off",)),
    )
    told = {"placement": "w10", "rollout": "dark.1", "attempt": 1, "cohorts": cohorts, "guardrails": (LIMIT,), "min_requests": 50}
    return Context(subject=subject, service=service, epoch=1, **(told | {"generation": 2} | fields))


def part(requests, errors=0, seconds=0.02):
    return Slice(requests, errors, histogram(*[seconds] * requests) if requests else None)


def slices(new=(20, 0), off=(40, 0), subject=DARK, **more):
    told = {"new": new, "off": off} | more
    return {f"{subject}={name}": part(*counts) for name, counts in told.items() if counts[0]}


def rows(second, told=None, nodes=4, service="shop", **fields):
    """Every server's row of a second; ``told``: slices of a server by its number."""
    for number in range(nodes):
        mine = told(number) if told else {}
        requests, errors = (sum(getattr(one, name) for one in mine.values()) for name in ("requests", "errors"))
        seen = {"requests": max(60, requests), "errors": errors, "latency": histogram(*[0.02] * 60), "zone": "a"} | fields
        yield row(f"n{number}", seq=second + 1, second=second, service=service, slices=mine, **seen)


def fold(first, told, seconds=SECONDS, state=None):
    """Fold contexts, then seconds of which ``told(second)`` has the rows."""
    return play([*first, *(record([*told(second)], second + 1.2) for second in range(seconds))], state)


def verdicts(outcomes, subject=DARK):
    return [one for outcome in outcomes for one in outcome.verdicts if one.subject == subject]


def bad(second):
    return rows(second, lambda _: slices(new=(20, 2 if second >= 10 else 0)))


def test_one_bad_variant_of_a_cohort_switches_off_and_the_verdict_names_placement_and_service():
    _, outcomes = fold([flag()], lambda second: rows(second, lambda _: slices(newer=(20, 3 if second >= 10 else 0))))
    failed = next(one for one in verdicts(outcomes) if one.outcome is Outcome.FAIL)
    assert (failed.reason, failed.action, failed.metric) == (Reason.LIMIT_BROKEN, Action.ROLLBACK, "errorRatio")
    assert (failed.service, failed.placement, failed.rollout, failed.compared_with) == ("shop", "w10", "dark.1", "control")
    assert failed.last_pane_ms == T0 + 12_000, "on the second bad pane, which is still open: no second of grace (C4)"
    assert failed.canary == pytest.approx(3 / 40)
    assert {one.outcome for one in verdicts(outcomes) if one.last_pane_ms <= T0 + 10_000} <= {Outcome.PASS, Outcome.HOLD}


def test_a_healthy_flag_passes_once_enough_have_had_it():
    state, outcomes = fold([flag(min_requests=200)], lambda second: rows(second, lambda _: slices()))
    found = verdicts(outcomes)
    assert [one.reason for one in found[:4]] == [
        Reason.TOO_FEW_REQUESTS,
        Reason.TOO_FEW_REQUESTS,
        Reason.ONE_NODE_ONLY,
        Reason.CLEAN,
    ]
    assert found[-1].reason is Reason.CLEAN
    assert found[-1].canary_requests == 80 * len(found)
    assert found[-1].control_requests == 160 * len(found)
    assert state.subjects["flag/web/dark shop"].served == dict.fromkeys(("n0", "n1", "n2", "n3"), 3)


def test_no_single_server_carries_a_fail_and_its_name_is_plain():
    """C4, H2: telemetry is unsigned, and one liar of three or more must not switch a flag off."""
    gross = lambda second: rows(second, lambda number: slices(new=(20, 20 if number == 0 and second >= 5 else 0)))  # noqa: E731
    _, outcomes = fold([flag()], gross)
    assert {one.action for one in verdicts(outcomes)} <= {None, Action.PAUSE}
    held = [one for one in verdicts(outcomes) if one.reason is Reason.ONE_NODE_ONLY]
    assert "nearly all of them on n0, one node alone" in held[-1].sentence
    assert all("=" not in one.sentence and not any("=" in node for told in one.evidence for node in told.deleted) for one in held)


@pytest.mark.parametrize("first", [context(), CANARY], ids=["quiet", "rollout"])
def test_what_else_is_said_of_a_service_is_the_same_bytes_with_slices_and_without(first):
    """A release is judged on all requests, whatever flags they had; and a flag on its slices alone."""

    def versioned(with_slices):
        def told(second):
            for number, one in enumerate(bad(second)):
                version = "v2" if first is CANARY and number == 0 else "v1"
                yield replace(one, version=version, slices=one.slices if with_slices else {})
                at = {"second": second, "seq": second + 1, "version": version}
                yield row(one.node, boot="agent", source=Source.AGENT, state=ServiceState.READY, changed_ms=T0 - 60_000, **at)

        return told

    _, bare = fold([first], versioned(with_slices=False))
    _, told = fold([first, flag()], versioned(with_slices=True))
    assert any(one.outcome is Outcome.FAIL for one in verdicts(told))
    own = [
        (
            [kpi for kpi in one.kpis if kpi.subject == "svc/shop"],
            one.scores,
            [verdict for verdict in one.verdicts if verdict.subject == "svc/shop"],
            [alarm for alarm in one.alarms if DARK not in alarm.id],
        )
        for one in told[1:]
    ]
    assert msgspec.msgpack.encode(own) == msgspec.msgpack.encode(
        [(one.kpis, one.scores, one.verdicts, one.alarms) for one in bare]
    )


def test_a_flag_is_judged_on_its_slices_alone():
    """Most of the requests fail, of both sides alike and of those without the flag: no reason to switch it off."""
    _, outcomes = fold([flag()], lambda second: rows(second, lambda _: slices(), requests=500, errors=400))
    assert {one.outcome for one in verdicts(outcomes)[3:]} == {Outcome.PASS}


def test_a_row_of_a_version_in_transition_counts_for_the_flag():
    """A6 is about what a release compares: both sides of a flag are on the server whichever version it runs."""
    first = [replace(CANARY, cohorts=(replace(CANARY.cohorts[0], nodes=("n0", "n1", "n2", "n3")),), stage_nodes=4), flag()]
    state, outcomes = fold(first, lambda second: (replace(one, version="v1") for one in bad(second)))
    assert state.tally.transition == 4 * state.tally.panes
    assert Outcome.FAIL in {one.outcome for one in verdicts(outcomes)}


def test_kpis_are_by_variant_under_the_flags_subject_in_every_window():
    _, outcomes = fold([flag()], lambda second: rows(second, lambda _: slices(new=(20, 2), newer=(5, 0)), nodes=3))
    told = [kpi for outcome in outcomes for kpi in outcome.kpis if kpi.subject == DARK]
    assert {(kpi.cohort, kpi.version) for kpi in told} == {("new", "c0ffee"), ("newer", "c0ffee"), ("off", "safe")}
    assert {kpi.window_s for kpi in told} == {1, 10}
    assert len({kpi.id for outcome in outcomes for kpi in outcome.kpis}) == sum(len(outcome.kpis) for outcome in outcomes)
    new = next(kpi for kpi in told if kpi.cohort == "new" and kpi.window_s == 10)
    assert (new.placement, new.requests, new.errors, new.nodes, new.rate, new.error_ratio) == ("w10", 600, 60, 3, 60.0, 0.1)
    assert new.p95_ms == pytest.approx(20, rel=0.0434)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_windows_hold_all_that_a_variant_was_asked_however_seldom(every):
    """One that nobody was served in a window's last second lost that window."""
    _, outcomes = fold([flag()], lambda second: rows(second, lambda _: slices(new=(20 * (second % every == 0), 0)), nodes=2), 62)
    told = [kpi for outcome in outcomes for kpi in outcome.kpis if (kpi.subject, kpi.cohort) == (DARK, "new")]
    ends = {window_s: {kpi.end_ms for kpi in told if kpi.window_s == window_s} for window_s in (10, 60)}
    for window_s, found in ends.items():
        assert found
        for end_ms in found:
            seconds = [kpi for kpi in told if kpi.window_s == 1 and end_ms - window_s * 1_000 < kpi.end_ms <= end_ms]
            (whole,) = [kpi for kpi in told if (kpi.window_s, kpi.end_ms) == (window_s, end_ms)]
            assert whole.requests == sum(kpi.requests for kpi in seconds) == 40 * len(seconds)
    assert len(ends[10]) == 6


def test_variants_beyond_the_cap_are_judged_and_have_their_kpis_together(monkeypatch):
    monkeypatch.setattr(flags, "VARIANTS_PER_SERVICE_MAX", 1)
    state, outcomes = fold([flag()], bad)
    names = {kpi.cohort for outcome in outcomes for kpi in outcome.kpis if kpi.subject == DARK}
    assert names == {"new", caps.OTHER}
    assert state.tally.refused == {caps.Cap.VARIANTS_PER_SERVICE: SECONDS - 1}
    alarm = next(alarm for outcome in outcomes for alarm in outcome.alarms if alarm.name == "cardinality_exceeded")
    assert f"{DARK}=off" in alarm.summary
    assert Outcome.FAIL in {one.outcome for one in verdicts(outcomes)}


def test_slices_that_no_context_names_are_not_looked_at():
    noise = lambda number: slices() | {f"{DARK}=nobody": part(5, 5), f"route=/{number}": part(9, 9), "flag/web/dark": part(1, 1)}  # noqa: E731
    _, outcomes = fold([flag()], lambda second: rows(second, noise))
    assert {kpi.cohort for outcome in outcomes for kpi in outcome.kpis if kpi.subject == DARK} == {"new", "off"}
    assert verdicts(outcomes)[-1].canary_errors == 0


def test_a_guard_of_two_services_in_one_partition_has_two_verdicts_of_their_own():
    """G3: decide writes a context for each; a fail of any switches off."""

    def told(second):
        yield from bad(second)
        yield from rows(second, lambda _: slices(), service="cart")

    state, outcomes = fold([flag(), flag(service="cart")], told)
    by_service = {name: {one.outcome for one in verdicts(outcomes) if one.service == name} for name in ("shop", "cart")}
    assert Outcome.FAIL in by_service["shop"]
    assert Outcome.FAIL not in by_service["cart"]
    ids = [{one.id for one in verdicts(outcomes) if one.service == name} for name in by_service]
    assert not ids[0] & ids[1]
    assert {"flag/web/dark shop", "flag/web/dark cart"} <= state.contexts.keys()


def test_two_flags_on_one_service_do_not_see_each_other():
    def told(second):
        return rows(second, lambda _: slices(new=(20, 2)) | slices(subject=OTHER))

    _, outcomes = fold([flag(), flag(OTHER)], told)
    assert Outcome.FAIL in {one.outcome for one in verdicts(outcomes)}
    assert {one.outcome for one in verdicts(outcomes, OTHER)[3:]} == {Outcome.PASS}


def test_a_variant_that_nobody_is_served_holds_and_never_fails():
    """C6: idle. Who asks for the flag is not a matter of what it does."""
    _, outcomes = fold([flag(min_requests=0)], lambda second: rows(second, lambda _: slices(new=(0, 0))), 30)
    assert {(one.outcome, one.reason) for one in verdicts(outcomes)} == {(Outcome.HOLD, Reason.IDLE)}
    served = lambda second: rows(second, lambda _: slices(new=(20 if second < 10 else 0, 0)))  # noqa: E731
    state, outcomes = fold([flag()], served, 30)
    assert [one.reason for one in verdicts(outcomes)][-1] is Reason.IDLE
    _, outcomes = play([record([], second) for second in range(31, 1_000, 3)], state)
    assert {(one.outcome, one.reason) for one in verdicts(outcomes)} == {(Outcome.HOLD, Reason.IDLE)}, "nor after 15 min"


def test_servers_that_crash_or_fall_silent_are_the_releases_business():
    """C6 by nodes does not apply: whoever is gone is gone on both sides."""

    def told(second):
        yield from rows(second, lambda _: slices(), nodes=4 if second < 8 else 2)
        exits = {"boot": "agent", "source": Source.AGENT, "exits": 3, "state": ServiceState.FAILED, "changed_ms": T0}
        yield row("n3", seq=second + 1, second=second, **exits)

    _, outcomes = fold([flag()], told)
    assert {one.outcome for one in verdicts(outcomes)[3:]} == {Outcome.PASS}
    assert {one.silent_nodes for one in verdicts(outcomes)} == {()}


def test_while_telemetry_is_down_it_is_held():
    state, _ = fold([flag()], lambda second: rows(second, lambda _: slices()), 10)
    stuck = record([*rows(10, lambda _: slices())], 11.2)
    marks = dict(stuck.marks) | {0: T0 + 30_000}
    _, outcomes = play([replace(stuck, marks=marks)], state)
    assert {one.reason for one in verdicts(outcomes)} == {Reason.TELEMETRY_DOWN}


def test_only_servers_of_both_sides_are_compared():
    """n3 serves the new variant alone, and fails: to compare it with others would be to compare servers."""
    alone = lambda second: rows(second, lambda number: slices(new=(20, 20), off=(0, 0)) if number == 3 else slices())  # noqa: E731
    state, outcomes = fold([flag()], alone)
    assert {one.outcome for one in verdicts(outcomes)[3:]} == {Outcome.PASS}
    assert state.subjects["flag/web/dark shop"].served["n3"] == flags.CANARY


@pytest.mark.parametrize(("errors", "outcome"), [(0, Outcome.PASS), (8, Outcome.FAIL)])
def test_where_everyone_has_the_new_variant_the_services_past_is_what_it_is_compared_with(errors, outcome):
    """C3: nobody left to compare with. The gross trip still switches off."""
    state, _ = fold([context()], rows, 30)
    everyone = lambda second: rows(second + 30, lambda _: slices(new=(20, errors), off=(0, 0)))  # noqa: E731
    told = [record([*everyone(second)], second + 31.2) for second in range(20)]
    _, outcomes = play([flag(placement="w100"), *told], state)
    last = verdicts(outcomes)[-1]
    assert (last.outcome, last.compared_with) == (outcome, "baseline")
    assert last.action is (Action.ROLLBACK if errors else None)


def test_without_slices_any_more_nothing_is_left_and_without_a_context_nothing_is_done():
    state, _ = fold([flag()], bad)
    state, outcomes = play([flag(placement="", cohorts=(), generation=3), *idle(30, 27)], state)
    assert verdicts(outcomes) == []
    assert "flag/web/dark shop" not in state.subjects
    assert not state.flags
    assert state.tables()["served"] == 0


def test_servers_beyond_those_that_are_looked_at_one_by_one_share_lots(monkeypatch):
    monkeypatch.setattr(flags, "SERVERS_MAX", 3)
    monkeypatch.setattr(flags, "LOTS", 2)
    state, outcomes = fold([flag()], lambda second: rows(second, lambda _: slices(new=(20, 2)), nodes=12))
    served = state.subjects["flag/web/dark shop"].served
    assert {"n0", "n1", "n10"} < served.keys()
    assert len(served) <= 3 + 2
    last = verdicts(outcomes)[-1]
    assert last.canary_requests == 12 * 20 * (last.last_pane_ms - T0) // 1_000, "nobody's requests are lost"


def test_neither_order_nor_repeats_nor_a_checkpoint_in_the_middle_change_anything():
    told = [[*bad(second)] for second in range(20)]
    _, straight = play([flag(), *(record(part, second + 1.2) for second, part in enumerate(told))])
    source, state, shuffled = random.Random(1), JudgeState(), []
    for number, one in enumerate([None, *told]):
        mixed = [] if one is None else source.sample([*one, *one[:3]], len(one) + 3)
        _, outcomes = play([flag() if one is None else record(mixed, number + 0.2)], state)
        shuffled += outcomes
        state = restore(snapshot(state))
    assert shuffled == straight
    assert Outcome.FAIL in {one.outcome for one in verdicts(straight)}


def test_a_state_that_was_lost_holds_until_the_flag_has_been_seen_anew():
    """C7."""
    state = JudgeState()
    state.lost = True
    records = [flag(started_ms=T0 - 1, min_requests=0)] + [
        record([*rows(second, lambda _: slices())], second + 1.2) for second in range(3, SECONDS)
    ]
    outcomes = [one for at, each in enumerate(records) for one in [play([each], state, append_second=at + 3)[1][0]]]
    assert {one.reason for one in verdicts(outcomes)[:10]} == {Reason.STATE_LOST}
