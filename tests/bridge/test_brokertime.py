"""What time the broker has, between its answers."""

import pytest

from tidegate.bridge.brokertime import TICKS_KEPT, BrokerTime

T0_MS = 1_700_000_000_000


class Machine:
    """A machine whose date may be set, and which may sleep; ``broker_ms`` is what the broker's clock says meanwhile."""

    def __init__(self) -> None:
        self.broker_ms = T0_MS
        self.date_ms = T0_MS
        self._up_s = 500.0

    def now_ms(self) -> int:
        return self.date_ms

    def monotonic_s(self) -> float:
        return self._up_s

    async def sleep(self, seconds: float) -> None:
        self.passes(seconds)

    def passes(self, seconds: float, *, asleep: bool = False) -> None:
        self.broker_ms += round(seconds * 1_000)
        self.date_ms += round(seconds * 1_000)
        self._up_s += 0 if asleep else seconds


def told(machine: Machine, *late_s: float) -> BrokerTime:
    """Return the time after ticks whose answers were under way for so long."""
    time = BrokerTime(machine)
    for seconds in late_s:
        appended_ms = machine.broker_ms
        machine.passes(seconds)
        time.answered([time.ahead_ms(appended_ms)])
    return time


@pytest.mark.parametrize("by_ms", [-60_000, -2_000, 2_000, 60_000])
def test_the_date_of_the_machine_may_be_set(by_ms):
    """Rows of 40 seconds were late for their panes, after a date that was put right by two."""
    machine = Machine()
    time = told(machine, 0.0)
    machine.date_ms += by_ms
    machine.passes(3)
    assert time.now_ms() == machine.broker_ms


def test_the_fastest_of_the_last_answers_is_believed():
    machine = Machine()
    time = told(machine, 0.5, 0.01, 2.0)
    assert machine.broker_ms - time.now_ms() == 10
    for _ in range(TICKS_KEPT):
        time.answered([time.ahead_ms(machine.broker_ms - 300), time.ahead_ms(machine.broker_ms - 200)])
    time.answered([])
    assert machine.broker_ms - time.now_ms() == 200


def test_a_record_tells_the_time_to_a_machine_that_slept():
    """Its clock stood still, and no row would have gone out for as long as it slept."""
    machine = Machine()
    time = told(machine, 0.0)
    machine.passes(3_600, asleep=True)
    assert time.now_ms() < machine.broker_ms
    time.appended(machine.broker_ms)
    time.appended(machine.broker_ms - 50_000)  # what was written earlier says nothing
    machine.passes(1)
    assert time.now_ms() == machine.broker_ms


def test_before_the_first_word_of_the_broker_no_second_is_over():
    assert BrokerTime(Machine()).now_ms() < T0_MS
