"""The read model: a fold of the topics as they come."""

from pathlib import Path

import pytest

from tidegate.model import Model, last_rollout
from tidegate.model.panes import PANES_KEPT, Panes
from tidegate.ports import Record
from tidegate.runtime.keys import ROLES, make_key, make_root
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision, DecisionKind, SubjectState
from tidegate.wire.documents import Enrolment, KeyRole, Report, digest
from tidegate.wire.envelope import Signer, Trust, seal
from tidegate.wire.judgement import Kpi
from tidegate.wire.keys import trust_of, unseal_root
from tidegate.wire.reasons import Reason

SHOP = "svc/shop"


@pytest.fixture
def signers(tmp_path: Path) -> dict[KeyRole, Signer]:
    return {role: make_key(tmp_path / f"{role}.key") for role in (*ROLES, KeyRole.NODE)}


@pytest.fixture
def trust(signers: dict[KeyRole, Signer]) -> Trust:
    return trust_of(unseal_root(make_root("local", signers, 1), None))


class Chain:
    """Decisions that follow each other, as an author writes them."""

    def __init__(self, epoch: int = 1, seq: int = 0, prev: str = "") -> None:
        self.epoch, self.seq, self.prev = epoch, seq, prev

    def write(self, kind: DecisionKind, generation: int, **fields) -> bytes:
        state = SubjectState(subject=SHOP, generation=generation)
        decision = Decision(
            **({"state": state} | fields),
            seq=self.seq,
            prev=self.prev,
            epoch=self.epoch,
            kind=kind,
            subject=SHOP,
            generation=generation,
            now_ms=self.seq,
            reason=Reason.ASKED,
        )
        raw = encode(decision)
        self.seq, self.prev = self.seq + 1, digest(raw)
        return raw


def record(topic: str, value: bytes | None, offset: int = 0, key: str | None = None) -> Record:
    return Record(topic, 0, offset, 1_000 + offset, key, value, {})


def test_decisions_are_told_in_order_with_their_times(trust: Trust) -> None:
    chain, model = Chain(), Model(trust)
    raws = [chain.write(DecisionKind.PAUSE, 1, answers="a"), chain.write(DecisionKind.RESUME, 2, answers="b")]
    told = model.see(record("decisions", raw, offset) for offset, raw in enumerate(raws))
    assert [(one.at_ms, one.decision.kind) for one in told] == [(1_000, "pause"), (1_001, "resume")]
    assert model.ledger.subject(SHOP).generation == 2
    answer = model.answer("a")
    assert answer is not None
    assert answer.decision.kind is DecisionKind.PAUSE
    assert model.answer("c") is None


def test_what_a_takeover_cuts_off_is_folded_anew_without(trust: Trust) -> None:
    first, model = Chain(epoch=1), Model(trust)
    good = first.write(DecisionKind.PAUSE, 1)
    second = Chain(epoch=2, seq=first.seq, prev=first.prev)
    late = first.write(DecisionKind.RESUME, 2)
    taken = second.write(DecisionKind.TAKEOVER, 0, cut=1, state=None)
    after = second.write(DecisionKind.ROLLBACK, 2)
    model.see([record("decisions", raw, offset) for offset, raw in enumerate((good, late, taken, after))])
    assert (model.ledger.epoch, model.ledger.subject(SHOP).generation, model.ledger.seq) == (2, 2, 3)


def test_a_broken_log_is_a_problem_with_a_remedy(trust: Trust) -> None:
    chain, model = Chain(), Model(trust)
    chain.write(DecisionKind.PAUSE, 1)
    with pytest.raises(Problem) as caught:
        model.see([record("decisions", chain.write(DecisionKind.RESUME, 2))])
    assert "decisions is broken" in caught.value.what
    assert caught.value.remedy


def test_a_report_counts_from_an_enrolled_node_alone(trust: Trust, signers: dict[KeyRole, Signer]) -> None:
    node = signers[KeyRole.NODE]
    report = Report(fleet="local", node="n1", boot="b", counter=1, issued_ms=1, agent_version="0")
    enrolment = Enrolment(fleet="local", node="n1", key=node.public(KeyRole.NODE, "n1"), issued_ms=1)
    model = Model(trust)
    model.see([record("reports", seal(report, node), key="n1")])
    assert (model.refused, model.view.reports) == (1, {})
    model.see(
        [record("reports", seal(report, node), key="n1"), record("keys", seal(enrolment, signers[KeyRole.OPERATOR]), key="n1")]
    )
    assert (set(model.view.reports), model.view.enrolled) == ({"n1"}, {"n1"})


@pytest.mark.parametrize("topic", ["keys", "reports", "verdicts", "alarms"])
def test_what_cannot_be_read_is_counted_and_passed_over(trust: Trust, topic: str) -> None:
    model = Model(trust)
    model.see([record(topic, b"{"), record(topic, None), record("desired", b"x")])
    assert model.refused == 1


def test_a_decision_log_that_cannot_be_read_is_a_problem_with_its_place(trust: Trust) -> None:
    with pytest.raises(Problem, match="broken at offset 7"):
        Model(trust).see([record("decisions", b"{", 7)])


def test_the_last_rollout_begins_with_the_plan_that_is_current(trust: Trust) -> None:
    chain, model = Chain(), Model(trust)
    raws = [chain.write(DecisionKind.PAUSE, number) for number in range(3)]
    model.see(record("decisions", raw, offset) for offset, raw in enumerate(raws))
    assert len(last_rollout(model, SHOP)) == 3
    assert last_rollout(model, "svc/other") == []


def kpi(end_ms: int, cohort: str = "canary", window_s: int = 1, service: str = "shop", subject: str = SHOP) -> Record:
    value = Kpi(
        service=service,
        cohort=cohort,
        subject=subject,
        placement="",
        version="v1",
        window_s=window_s,
        start_ms=end_ms - 1_000,
        end_ms=end_ms,
        requests=1,
        errors=0,
        nodes=1,
        nodes_expected=1,
        coverage=1.0,
        rate=1.0,
        error_ratio=0.0,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.0,
    )
    return record("kpis", value.flat(), key=service)


def test_panes_are_bounded_ordered_and_seen_once() -> None:
    panes = Panes("shop")
    panes.see(kpi(end_ms * 1_000) for end_ms in range(1, PANES_KEPT + 20))
    panes.see([kpi(5_000), kpi(90_000, window_s=10), kpi(90_000, service="other"), record("kpis", b"{", key="shop")])
    panes.see([kpi(90_000, "on", subject="flag/web/dark")])
    (cohort,) = panes.by_cohort.values()
    assert [pane.end_ms for pane in cohort] == [end_ms * 1_000 for end_ms in range(20, PANES_KEPT + 20)]
