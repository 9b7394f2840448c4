"""Nodes that run what nobody wants, found as reports come: what is kept is what a look at everything finds, for less."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.rollout.fleet import Fleet, artifact, plan

from tidegate.rollout.drift import Drift, drifted
from tidegate.rollout.view import View
from tidegate.wire.documents import Phase, ServiceReport, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Stage


def installed(nodes: int = 4) -> Fleet:
    fleet = Fleet(nodes=nodes, services=("shop", "till"))
    for service in fleet.services:
        first = (Stage(set_weight=100, bake="0s"),)
        fleet.submit(plan("1", None, first, id=f"{service}-1", service=service, watch="1s", max_unavailable="100%"))
        fleet.until(Phase.DONE, subject=f"svc/{service}")
    return fleet


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_what_is_kept_from_look_to_look_is_what_a_look_at_everything_finds(data):
    fleet, kept = installed(), Drift()
    follow, by_hand = fleet._act, set()
    fleet._act = lambda node: None if node.name in by_hand else follow(node)
    for turn in range(data.draw(st.integers(1, 12))):
        node = fleet.nodes[data.draw(st.sampled_from(sorted(fleet.nodes)))]
        service = data.draw(st.sampled_from(fleet.services))
        match data.draw(
            st.sampled_from(["nothing", "by hand", "other bytes", "follows", "plan", "fail", "undo", "retire", "join"])
        ):
            case "by hand":
                by_hand.add(node.name)
                node.running[service] = artifact("by-hand")
            case "other bytes":
                by_hand.add(node.name)
                node.running[service] = replace(artifact("1"), sha256="f" * 64)
            case "follows":
                by_hand.discard(node.name)
            case "plan":
                fleet.submit(plan(f"v{turn}", id=f"{service}-v{turn}", service=service))
            case "fail" if fleet.context(f"svc/{service}").placement:
                fleet.judge(Outcome.FAIL, f"svc/{service}")
            case "undo":
                fleet.ask(Verb.UNDO, f"svc/{service}")
            case "retire" if len(fleet.nodes) > 2:
                fleet.retire(node.name)
            case "join":
                fleet.join(f"n9{turn}")
        fleet.turn(data.draw(st.integers(0, 3)))
        kept = drifted(fleet.ledger, fleet.view, kept)
        assert kept == drifted(fleet.ledger, fleet.view)


class Counted(dict[str, ServiceReport]):
    """What a node says of its services; counts how often it is asked."""

    asked = 0

    def get(self, *args):
        Counted.asked += 1
        return super().get(*args)


def test_a_look_asks_only_those_who_have_reported_since_the_last_one():
    fleet = installed(nodes=12)
    reports = {node: replace(seen, services=Counted(seen.services)) for node, seen in fleet.view.reports.items()}
    view = replace(fleet.view, reports=reports)

    def asked(view: View, before: Drift) -> tuple[int, Drift]:
        Counted.asked = 0
        found = drifted(fleet.ledger, view, before)
        return Counted.asked, found

    first, kept = asked(view, Drift())
    assert first == 12 * 2, "every node, for each service"
    assert asked(view, kept) == (0, kept)
    news = replace(view, reports=reports | {"n03": replace(reports["n03"], seen_ms=fleet.now_ms + 1)})
    assert asked(news, kept)[0] == 2
