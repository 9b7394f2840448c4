"""A5: one source per (node, service), also when it skips a second."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.kpi.rows import T0, record, row

from tidegate.kpi.columns import SOURCE_CODE, read
from tidegate.kpi.panes import Part
from tidegate.kpi.rows import gather
from tidegate.kpi.sources import WAIT_MS, Sources
from tidegate.wire.telemetry import Source

SDK, SCRAPE, AGENT = Source.SDK, Source.SCRAPE, Source.AGENT


def play(sources: Sources, second: int, *said, version="v1", node="n1") -> list[Source]:
    """Close one second in which some sources speak; return those that are heeded."""
    rows = [row(node, boot=source, source=source, version=version) for source in said]
    columns = read(record(rows))
    found = gather([Part(columns, np.arange(len(rows)))] if rows else [])
    start_ms = T0 + second * 1_000
    heeded = sources.heeded(found, start_ms)
    sources.hear(found, start_ms)
    return [source for source in Source if SOURCE_CODE[source] in heeded.source]


def test_a_source_that_skips_a_second_is_not_replaced_for_just_that_second():
    sources = Sources()
    play(sources, 0, SDK, SCRAPE, AGENT)
    assert play(sources, 1, SCRAPE, AGENT) == [AGENT]
    assert play(sources, 2, SDK, SCRAPE, AGENT) == [SDK, AGENT]


def test_one_that_stays_away_is_replaced_after_ten_seconds_and_counts_at_once_when_it_is_back():
    sources = Sources()
    play(sources, 0, SDK, SCRAPE)
    heeded = [play(sources, second, SCRAPE) for second in range(1, 14)]
    assert heeded == [[]] * (WAIT_MS // 1_000) + [[SCRAPE]] * 3
    play(sources, 14, SDK, SCRAPE)
    assert play(sources, 15, SCRAPE) == []


def test_another_version_is_another_process():
    sources = Sources()
    play(sources, 0, SDK, SCRAPE, version="v2")
    assert play(sources, 1, SCRAPE, version="v1") == [SCRAPE]


def test_where_one_source_speaks_nothing_is_remembered():
    sources = Sources()
    for second in range(30):
        play(sources, second, SDK, AGENT)
    assert not sources.heard
    play(sources, 30, SDK, SCRAPE)
    assert sources.heard
    for second in range(31, 50):
        play(sources, second, SDK, AGENT)
    assert not sources.heard


@given(st.lists(st.sets(st.sampled_from([source for source in Source if source is not AGENT])), max_size=40))
def test_nothing_is_heeded_within_ten_seconds_of_something_higher(seconds):
    sources, several = Sources(), 0
    counted = [min(play(sources, 0, *Source), key=SOURCE_CODE.__getitem__)]
    for second, said in enumerate(seconds, start=1):
        heeded = play(sources, second, *said)
        lately = [one for one in counted[-WAIT_MS // 1_000 :] if one is not None]
        assert all(SOURCE_CODE[source] <= min(map(SOURCE_CODE.__getitem__, lately), default=9) for source in heeded)
        assert heeded or not said or lately
        counted.append(min(heeded, key=SOURCE_CODE.__getitem__, default=None))
        several = second if len(said) > 1 else several
        if second - several > WAIT_MS // 1_000:
            counted = []  # one source speaks alone again: nothing is remembered
