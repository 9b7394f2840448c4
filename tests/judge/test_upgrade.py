"""Code of this version beside code of the one before: partitions go from one to the other and back (DESIGN 6)."""

from typing import Any

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace
from tests.golden import checkpoints
from tests.judge.story import story

from tidegate.detect.drift.arrays import pack, unpack
from tidegate.judge import JudgeState, restore, snapshot, step
from tidegate.judge.snapshot import OLDEST, READABLE_BY, VERSION, Snapshot
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed


class Version3(Struct, frozen=True, kw_only=True):
    """The fields of version 3, as they were: what that code keeps of a snapshot, and writes again. Never change it."""

    version: int
    clock: dict[str, Any]
    boots: list[Any]
    skews: dict[str, list[int]]
    windows: dict[str, Any]
    scores: dict[str, Any]
    closed_ms: int | None
    contexts: dict[str, Any]
    subjects: dict[str, Any]
    books: dict[str, Any]
    seen: dict[str, dict[str, int]]
    late: dict[str, int]
    excluded: dict[str, set[str]]
    early: dict[str, int]
    down: bool
    tally: dict[str, Any]
    open_rows: list[Any]


TALLY_3 = ("accepted", "duplicate", "late", "excluded", "skewed", "transition", "panes")
SUBJECT_3 = ("baseline", "rollout", "placement", "windows", "watches", "first_pane_ms", "idle_since_ms", "lost")
VERSIONS = tuple(range(OLDEST, VERSION + 1))
WITH_EVIDENCE = 5
"""The first version that keeps what DRIFT knows."""


def through_version_3(data: bytes) -> bytes:
    """What code of version 3 makes of a snapshot: read, kept for a moment, written."""
    old = msgspec.msgpack.decode(data, type=Version3)
    tally = {name: old.tally[name] for name in TALLY_3}
    clock = {name: value for name, value in old.clock.items() if name in ("marks", "resumed_ms")}
    subjects = {name: {field: one[field] for field in SUBJECT_3} for name, one in old.subjects.items()}
    return msgspec.msgpack.encode(msgspec.structs.replace(old, version=3, tally=tally, clock=clock, subjects=subjects))


@pytest.fixture(scope="module")
def log():
    return [(append_ms, nodeseconds.decode(data)) for append_ms, data in checkpoints.log()]


def plain(value):
    """Anything of a state as plain data; sets in one order, arrays as bytes."""
    return msgspec.to_builtins(value, order="deterministic", enc_hook=pack)


def told(state):
    """What a snapshot says."""
    return plain(msgspec.msgpack.decode(snapshot(state), type=Snapshot, dec_hook=unpack))


def fold(state, records):
    return [step(state, record, append_ms) for append_ms, record in records]


def without_evidence(outcomes):
    """Outcomes without what DRIFT says: it replaced the evidence of versions 3 and 4, so there it begins anew."""
    return [
        replace(one, verdicts=tuple(replace(verdict, log_e=None, evidence=(), certified=False) for verdict in one.verdicts))
        for one in outcomes
    ]


def evidence_counted(outcomes):
    """What the evidence of each verdict was gathered from: another tuning weighs it otherwise, but goes on with the same."""
    return [
        [(verdict.subject, each.family, each.canary_requests, each.control_requests) for each in sorted_by_family(verdict)]
        for one in outcomes
        for verdict in one.verdicts
    ]


def sorted_by_family(verdict):
    return sorted(verdict.evidence, key=lambda each: each.family)


def without_news(outcomes):
    """Outcomes without the alarms that older code had no rule for and the scores of series that it did not keep."""
    new = {"limit_broken", "anomaly", "slo_burn_fast", "slo_burn_slow", "clock_standing"}
    kept = {"rate", "error_ratio", "p95_ms"}
    return [
        replace(
            one,
            alarms=tuple(alarm for alarm in one.alarms if alarm.name not in new),
            scores=tuple(score for score in one.scores if score.metric in kept),
        )
        for one in outcomes
    ]


def test_there_is_a_golden_checkpoint_of_every_version_that_is_read():
    assert all(checkpoints.checkpoint(version).exists() for version in VERSIONS)
    assert OLDEST <= READABLE_BY <= VERSION


@pytest.mark.parametrize("version", VERSIONS)
def test_a_checkpoint_of_each_version_goes_on_as_if_nothing_had_happened(log, version):
    state = JudgeState()
    fold(state, log[: checkpoints.CUT])
    whole = fold(state, log[checkpoints.CUT :])
    again = fold(restore(checkpoints.state(version)), log[checkpoints.CUT :])
    assert without_evidence(without_news(again)) == without_evidence(without_news(whole))
    if version >= WITH_EVIDENCE:
        assert evidence_counted(again) == evidence_counted(whole)
    assert {verdict.outcome for outcome in whole for verdict in outcome.verdicts} >= {"pass", "fail", "hold"}


def test_a_partition_that_goes_to_older_code_and_back_again_and_again_gives_the_same_outputs():
    records = [*story(seconds=70)]
    whole = fold(JudgeState(), records)
    state, found = JudgeState(), []
    for at in range(0, len(records), 37):
        found += fold(state, records[at : at + 37])
        state = restore(through_version_3(snapshot(state)))
    assert without_evidence(found) == without_evidence(whole)


@pytest.mark.parametrize(("version", "readable_by"), [(OLDEST - 1, 0), (VERSION + 1, VERSION + 1)])
def test_a_checkpoint_that_cannot_be_understood_is_refused(version, readable_by):
    fields = msgspec.msgpack.decode(snapshot(JudgeState()))
    data = msgspec.msgpack.encode(fields | {"version": version, "readable_by": readable_by})
    with pytest.raises(Malformed, match=f"version {version}"):
        restore(data)


def test_a_later_checkpoint_that_this_version_may_read_is_read_without_what_is_unknown_here(log):
    state = JudgeState()
    fold(state, log[:40])
    fields = msgspec.msgpack.decode(snapshot(state))
    fields |= {"version": VERSION + 1, "readable_by": VERSION, "invention": {"a": 1}}
    assert told(restore(msgspec.msgpack.encode(fields))) == told(state)


def test_a_word_that_is_unknown_here_costs_one_subject_and_not_the_partition(log):
    state = JudgeState()
    fold(state, log[: checkpoints.CUT])
    fields = msgspec.msgpack.decode(snapshot(state), strict=False)
    before = plain(state.subjects)
    node, watch = next(iter(fields["subjects"]["svc/good"]["watches"].items()))
    fields["subjects"]["svc/good"]["watches"][node] = [*watch[:8], "hibernating", *watch[9:]]
    again = restore(msgspec.msgpack.encode(fields))
    assert [name for name, subject in plain(again.subjects).items() if subject != before[name]] == ["svc/good"]
    assert again.seen == state.seen
    outcomes = fold(again, log[checkpoints.CUT :])
    found = [verdict for outcome in outcomes for verdict in outcome.verdicts if verdict.subject == "svc/good"]
    assert {(verdict.outcome, verdict.reason) for verdict in found} == {("hold", "state_lost")}
