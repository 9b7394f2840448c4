"""What the world last said: older news never replaces newer, a fail is kept (D1, D5)."""

from msgspec.structs import replace
from tests.rollout.fleet import SHOP, Node, artifact

from tidegate.rollout.events import ReportArrived, VerdictArrived
from tidegate.rollout.view import View, see
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

VERDICT = Verdict(
    subject=SHOP,
    service="shop",
    epoch=1,
    generation=5,
    rollout="r.1",
    placement="p",
    stage=0,
    outcome=Outcome.PASS,
    reason=Reason.CLEAN,
    last_pane_ms=1_000,
)
FAIL = replace(VERDICT, outcome=Outcome.FAIL, reason=Reason.CRASHED, action=Action.ROLLBACK)


def after(*verdicts: Verdict) -> View:
    view = View()
    for verdict in verdicts:
        view = see(view, VerdictArrived(verdict, 0))
    return view


def test_a_verdict_of_an_older_generation_or_pane_does_not_replace_a_newer_one():
    newest = replace(VERDICT, generation=6)
    assert after(newest, replace(VERDICT, last_pane_ms=9_000)).verdicts[SHOP] == newest
    assert after(newest, replace(newest, last_pane_ms=500)).verdicts[SHOP] == newest
    assert after(newest, replace(VERDICT, epoch=2, generation=1)).verdicts[SHOP].epoch == 2


def test_a_fail_is_kept_although_passes_follow():
    assert after(FAIL, replace(VERDICT, last_pane_ms=2_000)).fails[SHOP] == {Action.ROLLBACK: FAIL}


def test_fails_of_both_actions_are_kept_beside_each_other_and_the_newest_of_each():
    pause = replace(FAIL, action=Action.PAUSE)
    again = replace(FAIL, generation=7)
    assert after(FAIL, pause, again).fails[SHOP] == {Action.ROLLBACK: again, Action.PAUSE: pause}
    assert after(again, FAIL).fails[SHOP] == {Action.ROLLBACK: again}


def test_a_fail_of_a_newer_placement_replaces_older_ones_and_never_the_other_way():
    newer = replace(FAIL, placement="q", generation=8)
    assert after(FAIL, newer).fails[SHOP] == {Action.ROLLBACK: newer}
    assert after(newer, FAIL).fails[SHOP] == {Action.ROLLBACK: newer}


def test_a_fail_without_an_action_asks_for_a_rollback():
    assert Action.ROLLBACK in after(replace(FAIL, action=None)).fails[SHOP]


def test_a_report_that_was_overtaken_changes_nothing_within_a_boot():
    node = Node("n1", "z1")
    old, new = node.report(("shop",), 1), node.report(("shop",), 2)
    view = see(see(View(), ReportArrived(new, 2_000)), ReportArrived(old, 3_000))
    assert view.reports["n1"].report == new
    other = see(view, ReportArrived(replace(old, boot="b2"), 4_000))
    assert other.reports["n1"].report.boot == "b2"


def test_since_when_a_node_stands_as_it_does_begins_with_a_change_and_after_a_silence():
    node = Node("n1", "z1")
    node.running["shop"] = artifact("1")
    view = View()
    found = []
    for seen_ms in (1_000, 31_000, 61_000, 200_000):
        view = see(view, ReportArrived(node.report(("shop",), seen_ms), seen_ms))
        found.append(view.reports["n1"].steady_ms["shop"])
    node.running["shop"] = artifact("2")
    view = see(view, ReportArrived(node.report(("shop",), 0), 230_000))
    assert found == [1_000, 1_000, 1_000, 200_000]
    assert view.reports["n1"].steady_ms["shop"] == 230_000
    assert not view.reachable("n1", 320_000)
    assert view.reachable("n1", 319_999)
