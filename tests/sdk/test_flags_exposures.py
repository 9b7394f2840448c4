"""Who saw what: once, for watched flags alone, by a hash; and slices of requests by the variants that served them."""

import asyncio
import contextlib
import json
import threading
from decimal import Decimal

import pytest
from openfeature.evaluation_context import EvaluationContext
from openfeature.track import TrackingEventDetails
from tests.flagfeed.kit import flag
from tests.sdk.flagkit import Service, settings

from tidegate.ports import SystemClock
from tidegate.sdk import Publisher
from tidegate.sdk.flags import EventStats, exposures
from tidegate.sdk.flags.exposures import WAITING_MAX, WINDOW_S, Events, Watch
from tidegate.wire.exposures import EXPERIMENT, SALT, WATCHED, Exposure, Outcome, exposure_of, user_hash
from tidegate.wire.flags import METADATA
from tidegate.world import MemoryLog, SimClock

KIM, ALEX = EvaluationContext("kim"), EvaluationContext("alex")


@pytest.fixture
def service(tmp_path):
    """Three flags: one that is judged, one in an experiment, one that is neither."""
    service = Service(tmp_path)
    service.put("web/judged", flag("on", metadata={WATCHED: True}))
    service.put("web/tried", flag("on", metadata={EXPERIMENT: "checkout"}))
    service.put("web/plain", flag("on"))
    service.begin()
    yield service
    service.end()


def ask(service: Service, key: str, context: EvaluationContext | None = KIM) -> None:
    service.client.get_boolean_value(key, False, context)


def sent(service: Service) -> list[Exposure | Outcome]:
    """End the provider, which sends what waits; return what stands on the topic."""
    service.provider.shutdown()
    return [exposure_of(value) for value in service.exposures()]


def test_a_hot_loop_makes_one_record_for_each_flag_and_user(service):
    for _ in range(100):
        for key in ("judged", "tried", "plain"):
            ask(service, key)
            ask(service, key, ALEX)
    found = sent(service)
    assert sorted((one.flag, one.user) for one in found) == sorted(
        (key, user_hash("web", name)) for key in ("judged", "tried") for name in ("kim", "alex")
    )
    assert {(one.set_id, one.variant, one.reason, one.node, one.service) for one in found} == {
        ("web", "on", "STATIC", "n1", "shop")
    }
    assert {one.flag: one.generation for one in found} == {"judged": 1, "tried": 2}
    assert {one.flag: one.experiment for one in found} == {"judged": "", "tried": "checkout"}


def test_whoever_saw_a_variant_is_told_of_at_once_when_the_experiment_begins_anew(service):
    ask(service, "tried")
    service.put("web/tried", flag("on", metadata={EXPERIMENT: "basket"}))
    service.next("changed")
    ask(service, "tried")
    assert [one.experiment for one in sent(service)] == ["checkout", "basket"]


def test_a_record_has_the_names_of_the_semantic_conventions_and_no_targeting_key(service):
    ask(service, "judged", EvaluationContext("kim@example.com"))
    sent(service)
    (record,) = service.log.topic("exposures")
    plain = json.loads(record.value)
    assert record.key == plain["feature_flag.context.id"] == user_hash("web", "kim@example.com")
    assert (plain["feature_flag.key"], plain["feature_flag.result.variant"], plain["feature_flag.set.id"]) == (
        "judged",
        "on",
        "web",
    )
    assert b"kim" not in record.value


def test_the_set_says_what_the_hashes_are_salted_with(service):
    service.put(f"web/{METADATA}", json.dumps({SALT: "s3"}).encode())
    service.next("changed")
    ask(service, "judged")
    service.client.track("bought", KIM)
    assert {one.user for one in sent(service)} == {user_hash("s3", "kim")}


@pytest.mark.parametrize("context", [None, EvaluationContext(), EvaluationContext("")])
def test_who_is_nobody_leaves_no_record(service, context):
    ask(service, "judged", context)
    service.client.track("bought", context)
    assert sent(service) == []


def test_what_gives_no_variant_is_no_exposure(service):
    service.client.get_string_value("judged", "code", KIM)
    ask(service, "missing")
    assert sent(service) == []


def test_outcomes_carry_a_value_or_count_one(service):
    service.client.track("bought", KIM)
    service.client.track("paid", KIM, TrackingEventDetails(99.5))
    service.client.track("broken", KIM, TrackingEventDetails(float("nan")))
    assert [(one.metric, one.value, one.user) for one in sent(service)] == [
        ("bought", 1.0, user_hash("web", "kim")),
        ("paid", 99.5, user_hash("web", "kim")),
    ]


@pytest.mark.parametrize(
    ("metric", "value"),
    [("\ud800", 1.0), ("", 1.0), ("x" * 257, 1.0), (7, 1.0), ("paid", "much"), ("paid", 10**400), ("paid", 1j)],
    ids=["half a character", "nothing", "too long", "no text", "no number", "too large", "complex"],
)
def test_what_cannot_travel_is_no_outcome_raises_nothing_and_holds_nothing_up(service, metric, value):
    """Half a character ended the sending of all exposures without a word."""
    service.provider.track(metric, KIM, TrackingEventDetails(value))
    service.provider.track("paid", KIM, TrackingEventDetails(Decimal("99.5")))
    assert [(one.metric, one.value) for one in sent(service)] == [("paid", 99.5)]


def test_without_a_watched_flag_there_is_no_hook_and_nothing_is_told(service):
    assert len(service.provider.get_provider_hooks()) == 1
    for key in ("judged", "tried"):
        service.put(f"web/{key}", flag("off"))
        service.next("changed")
    assert service.provider.get_provider_hooks() == []
    ask(service, "judged")
    service.client.track("bought", KIM)
    assert sent(service) == []


def test_who_wants_no_exposures_has_no_hook(tmp_path):
    service = Service(tmp_path, exposures=False)
    service.put("web/judged", flag("on", metadata={WATCHED: True}))
    service.begin()
    assert service.provider.get_provider_hooks() == []
    service.end()


class Details:
    """What an evaluation gave."""

    def __init__(self, variant: str | None = "on") -> None:
        self.variant = variant
        self.reason = "STATIC"


def events(tmp_path, clock) -> Events:
    found = Events(settings(tmp_path), clock)
    found.watched = {"f": Watch(1, judged=False)}
    return found


async def test_a_broker_that_is_away_costs_the_oldest_events_and_they_are_counted(tmp_path):
    clock = SimClock()
    log = MemoryLog(clock)
    log.reachable = False
    found = events(tmp_path, clock)
    for number in range(WAITING_MAX + 10):
        found.track("bought", f"u{number}", None)
    assert not await found.flush(log)
    assert found.stats() == EventStats(WAITING_MAX + 10, 0, 10, WAITING_MAX)
    log.reachable = True
    while found.stats().waiting:
        assert await found.flush(log)
    assert found.stats() == EventStats(WAITING_MAX + 10, WAITING_MAX, 10, 0)
    assert len(log.topic("exposures")) == WAITING_MAX


async def test_what_got_no_answer_is_sent_again_the_same_bytes(tmp_path):
    clock = SimClock()
    log = MemoryLog(clock)
    log.lose_answers("exposures", True)
    found = events(tmp_path, clock)
    found.saw("f", Details(), "kim")
    assert not await found.flush(log)
    assert await found.flush(log)
    first, second = log.topic("exposures")
    assert first.value == second.value


async def test_a_user_is_noted_again_after_a_window_and_what_is_remembered_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(exposures, "SEEN_MAX", 64)
    clock = SimClock()
    found = events(tmp_path, clock)
    made = []
    for _ in range(6):
        found.saw("f", Details(), "kim")
        made.append(found.stats().made)
        await clock.advance(WINDOW_S / 2)
    assert made == [1, 1, 1, 1, 2, 2]
    for number in range(200):
        found.saw("f", Details(), str(number))
        assert sum(map(len, found._seen)) <= 2 * 64


class Rows:
    """What a publisher has recorded."""

    def __init__(self) -> None:
        self.publisher = Publisher("shop", node="n1", bootstrap="127.0.0.1:1")

    def slices(self) -> dict[str, int]:
        return {name: part.requests for name, part in self.publisher._recorder.cut(SystemClock().now_ms()).slices.items()}


def test_a_request_counts_for_the_variants_of_watched_flags_that_served_it(service):
    rows = Rows()
    with rows.publisher.request():
        ask(service, "judged")
        ask(service, "judged", ALEX)
        ask(service, "tried")
        ask(service, "plain")
    with rows.publisher.request(slices=["route=/cart"]):
        ask(service, "plain")
    with rows.publisher.request(slices=["route=/cart"]):
        ask(service, "judged")
    ask(service, "judged")
    assert rows.slices() == {"flag/web/judged=on": 2, "route=/cart": 2}


def test_a_request_that_fails_counts_as_an_error_of_the_variant_that_served_it(service):
    rows = Rows()
    with contextlib.suppress(ZeroDivisionError), rows.publisher.request():
        ask(service, "judged")
        _ = 1 // 0
    row = rows.publisher._recorder.cut(SystemClock().now_ms())
    assert (row.slices["flag/web/judged=on"].errors, row.errors) == (1, 1)


def test_a_request_inside_another_serves_both(service):
    rows = Rows()
    with rows.publisher.request():
        with rows.publisher.request():
            ask(service, "judged")
        with rows.publisher.request():
            pass
    assert rows.slices() == {"flag/web/judged=on": 2}


def test_requests_of_threads_do_not_mix(service):
    rows, both = Rows(), threading.Barrier(2)

    def serve(key: str) -> None:
        with rows.publisher.request(slices=[key]):
            both.wait()
            ask(service, key)
            both.wait()

    threads = [threading.Thread(target=serve, args=(key,)) for key in ("judged", "plain")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows.slices() == {"judged": 1, "plain": 1, "flag/web/judged=on": 1}


async def test_requests_of_tasks_do_not_mix_and_tasks_of_a_request_belong_to_it(service):
    rows, both = Rows(), asyncio.Barrier(2)

    async def look(key: str) -> None:
        await both.wait()
        await asyncio.to_thread(ask, service, key)

    async def serve(key: str) -> None:
        with rows.publisher.request(slices=[key]):
            await asyncio.create_task(look(key))

    await asyncio.gather(serve("judged"), serve("plain"))
    assert rows.slices() == {"judged": 1, "plain": 1, "flag/web/judged=on": 1}
