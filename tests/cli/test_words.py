"""What a person reads: status, explanation, the live picture."""

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console, ConsoleDimensions
from tests.model.test_model import kpi

from tidegate.cli.rollout_explain import text
from tidegate.cli.rollout_status import lines
from tidegate.cli.rollout_watch import picture, sparkline
from tidegate.cli.tell import age, versions
from tidegate.model import Model, Summary, Told
from tidegate.model.panes import Panes
from tidegate.model.summary import Blocker, CohortSummary
from tidegate.wire.decisions import Decision, DecisionKind, Result
from tidegate.wire.documents import Phase
from tidegate.wire.envelope import Trust
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

NOW_MS = 1_700_000_000_000

FAIL = Verdict(
    subject="svc/shop",
    service="shop",
    epoch=1,
    generation=4,
    rollout="r.1",
    placement="p",
    stage=0,
    outcome=Outcome.FAIL,
    reason=Reason.LIMIT_BROKEN,
    action=Action.ROLLBACK,
    metric="errorRatio",
    canary=0.051,
    control=0.0004,
    limit=0.02,
    compared_with="control",
    canary_requests=812,
    control_requests=2_431,
    canary_errors=41,
    control_errors=1,
    first_pane_ms=NOW_MS - 9_000,
    last_pane_ms=NOW_MS - 1_500,
    sentence="errorRatio of the canary is 5.1 %, the limit 2 %.",
)

RUNNING = Summary(
    subject="svc/shop",
    service="shop",
    phase=Phase.RUNNING,
    result=Result.NONE,
    generation=4,
    rollout="r.1",
    version="v2",
    settled="v1",
    stage=1,
    stages=3,
    cohorts=(
        CohortSummary(name="canary", version="v2", expected=3, nodes=2, ready=1),
        CohortSummary(name="rest", version="v1", expected=9, nodes=9, ready=9),
    ),
    blockers=(Blocker(Reason.BAKING, "The stage bakes for 12 s more."),),
    verdict=FAIL,
)


def test_status_names_phase_cohorts_blockers_and_verdict() -> None:
    told = "\n".join(lines(RUNNING, NOW_MS))
    assert "shop: running, stage 1 of 3   v1 -> v2   generation 4" in told
    assert "canary   1 of 2 ready on v2 (3 in this stage)" in told
    assert "rest     9 of 9 ready on v1" in told
    assert "waits: The stage bakes for 12 s more." in told
    assert "verdict 1.5 s ago: fail (limit broken) errorRatio of the canary is 5.1 %" in told


def test_an_explanation_holds_both_sides_of_the_verdict() -> None:
    decision = Decision(
        seq=7,
        prev="x",
        epoch=1,
        kind=DecisionKind.ROLLBACK,
        subject="svc/shop",
        generation=5,
        now_ms=NOW_MS,
        reason=Reason.LIMIT_BROKEN,
        message=FAIL.sentence,
        facts={"metric": "errorRatio", "canary_requests": 812, "nodes": [f"n{number}" for number in range(12)]},
    )
    told = "\n".join(text([(NOW_MS, decision)], FAIL))
    for part in (
        "rollback  generation 5",
        "limit_broken",
        "n7 and 4 more",
        "errorRatio: canary 0.051, control 0.0004, limit 0.02",
        "canary   812 requests, 41 errors",
        "control  2431 requests, 1 errors",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("phase", "version", "settled", "told"),
    [
        (Phase.RUNNING, "v2", "v1", "v1 -> v2"),
        (Phase.RUNNING, "v1", "", "nothing -> v1"),
        (Phase.DONE, "v2", "v2", "v2"),
        (Phase.DONE, "v2", "v1", "v1 (not v2)"),
        (Phase.IDLE, "", "", "nothing"),
    ],
)
def test_versions_say_what_runs_and_what_comes(phase: Phase, version: str, settled: str, told: str) -> None:
    one = Summary(subject="svc/a", service="a", phase=phase, result=Result.NONE, generation=1, version=version, settled=settled)
    assert versions(one) == told


@pytest.mark.parametrize(
    ("ms", "told"), [(0, "0.0 s"), (9_940, "9.9 s"), (59_000, "59 s"), (90_000, "2 min"), (5_400_000, "1.5 h")]
)
def test_an_age_has_the_unit_that_suits_it(ms: int, told: str) -> None:
    assert age(ms) == told


def test_a_sparkline_is_as_tall_as_its_top_and_leaves_gaps() -> None:
    assert sparkline([0, 5, 10, -1, 10], 10) == "▁▄█ █"
    assert sparkline([0, 0], 0) == "▁▁"


def frame(panes: Panes, width: int, height: int = 40, told: Sequence[Told] = ()) -> str:
    model = Model(Trust("local", 1, {}))
    model.told.extend(told)
    out = io.StringIO()
    Console(file=out, width=width).print(picture(model, "svc/shop", panes, NOW_MS, ConsoleDimensions(width, height)))
    return out.getvalue()


def busy() -> Panes:
    panes = Panes("shop")
    panes.see([kpi(NOW_MS + second * 1_000, cohort) for second in range(30) for cohort in ("rest", "canary", "control")])
    return panes


@pytest.mark.parametrize(("width", "bars"), [(160, 24), (80, 10), (45, 0)])
def test_the_picture_shows_every_figure_of_each_cohort_at_any_width_and_bars_where_they_fit(width: int, bars: int) -> None:
    shown = frame(busy(), width)
    assert shown.index("canary") < shown.index("control") < shown.index("rest")
    for head in ("version", "nodes", "req/s", "errors", "p95"):
        assert head in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    assert max((len(run) for run in re.findall("[▁▂▃▄▅▆▇█]+", shown)), default=0) == bars
    assert "generation 0" in shown


def test_the_newest_decisions_are_the_ones_that_fit() -> None:
    told = [
        Told(
            NOW_MS,
            Decision(
                seq=number,
                prev="x",
                epoch=1,
                kind=DecisionKind.RELEASE,
                subject="svc/shop",
                generation=number,
                now_ms=NOW_MS,
                reason=Reason.STARTED,
                message=f"decision {number}: " + "a long story " * 8,
            ),
        )
        for number in range(30)
    ]
    shown = frame(busy(), 80, 24, told)
    assert len(shown.splitlines()) <= 24
    assert "decision 29" in shown
    assert "decision 0:" not in shown


def test_a_picture_without_kpis_says_what_may_be_missing() -> None:
    assert "no KPIs yet" in frame(Panes("shop"), 120)


def test_a_cohort_that_is_no_more_leaves_the_picture() -> None:
    panes = busy()
    panes.see([kpi(NOW_MS + second * 1_000, "rest") for second in range(30, 40)])
    assert "rest" in frame(panes, 120)
    assert "canary" not in frame(panes, 120)


def test_figures_that_no_longer_come_are_called_stale() -> None:
    panes = Panes("shop")
    panes.see([kpi(NOW_MS - 20_000)])
    assert "the last KPI is 20 s old" in frame(panes, 120)
    assert "stale" not in frame(busy(), 120)


def test_a_story_of_many_lines_takes_three_of_the_picture() -> None:
    told = Told(
        NOW_MS,
        Decision(
            seq=0,
            prev="x",
            epoch=1,
            kind=DecisionKind.ROLLBACK,
            subject="svc/shop",
            generation=1,
            now_ms=NOW_MS,
            reason=Reason.START_FAILED,
            message="\n".join(f"line {n}" for n in range(9)),
        ),
    )
    shown = frame(busy(), 80, 40, [told])
    assert "line 2" in shown
    assert "line 3" not in shown
