"""A5 through the fold and its checkpoints."""

from tests.kpi.rows import T0, record, row

from tidegate.judge import JudgeState, restore, snapshot, step
from tidegate.wire.telemetry import Source


def second(number: int, *sources: Source):
    rows = [row(seq=number + 1, second=number, source=one, boot=one, requests=100 if one is Source.SDK else 7) for one in sources]
    return record(rows, number + 1)


def test_a_skipped_second_stays_empty_also_over_a_checkpoint():
    records = [second(number, *([] if number == 3 else [Source.SDK]), Source.SCRAPE) for number in range(8)]
    whole, cut = JudgeState(), JudgeState()
    straight, resumed = [], []
    for number, one in enumerate(records):
        straight += step(whole, one, T0 + number * 1_000).kpis
        cut = restore(snapshot(cut))
        resumed += step(cut, one, T0 + number * 1_000).kpis
    assert resumed == straight
    assert [kpi.requests for kpi in straight if kpi.window_s == 1] == [100, 100, 100, 0, 100, 100]
