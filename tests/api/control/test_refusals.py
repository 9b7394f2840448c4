"""Who was refused what: bounded, and who repeats an attempt pushes nothing out."""

from http import HTTPStatus

from prometheus_client import CollectorRegistry

from tidegate.api.control.calls import Route
from tidegate.api.control.problems import Declined
from tidegate.api.control.refusals import KEPT, Attempt, Refusals
from tidegate.api.roles import Right


async def nothing(_call):
    raise AssertionError


ROUTE = Route(method="GET", path="/rollouts/{service}", right=Right.READ, summary="", handle=nothing, answer=None)
NO = Declined(HTTPStatus.FORBIDDEN, "no")


def refuse(refusals: Refusals, service: str, by: str = "ci") -> None:
    refusals.add(Attempt(ROUTE, {"service": service}, "10.0.0.1"), by, NO)


def test_the_newest_are_kept_and_alike_ones_are_one():
    now_ms = [1]
    refusals = Refusals(lambda: now_ms[0], CollectorRegistry())
    refuse(refusals, "first")
    for _ in range(5 * KEPT):
        now_ms[0] += 1
        refuse(refusals, "again")
    assert [(one.of["service"], one.times, one.first_ms, one.last_ms) for one in refusals.newest()] == [
        ("again", 5 * KEPT, 2, 5 * KEPT + 1),
        ("first", 1, 1, 1),
    ]
    refuse(refusals, "first")  # it is the newest again
    for number in range(KEPT - 1):
        refuse(refusals, f"s{number}")
    kept = refusals.newest()
    assert (len(kept), kept[0].of["service"], kept[-1].of["service"], kept[-1].times) == (KEPT, f"s{KEPT - 2}", "first", 2)


def test_what_is_named_at_length_is_cut_and_another_token_is_another_attempt():
    refusals = Refusals(lambda: 1, CollectorRegistry())
    for by in ("a", "b"):
        refuse(refusals, "x" * 5_000, by)
    assert [(one.by, len(one.of["service"])) for one in refusals.newest()] == [("b", 150), ("a", 150)]
