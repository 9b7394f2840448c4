"""Questions: what waits for an answer, and what waits again."""

import pytest
from tests.decider.kit import TRUST

from tidegate.decider.inbox import Inbox
from tidegate.ports import Record
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.judgement import INBOUND_WRITER, Alarm, AlarmState, Severity


def question(offset: int, topic: str = "intents") -> Record:
    return Record(topic, 0, offset, 0, "svc/shop", b"%d" % offset, {})


@pytest.fixture
def inbox():
    inbox = Inbox(TRUST)
    for offset in range(3):
        inbox.take_question(question(offset), {})
    return inbox


def waiting(inbox: Inbox) -> list[int]:
    return [record.offset for record in inbox.asked]


def test_what_was_answered_by_whomever_does_not_wait(inbox):
    inbox.forget({"intents/0": 2})
    assert waiting(inbox) == [2]


@pytest.mark.parametrize("by_this_process", [True, False])
def test_a_question_whose_answer_a_takeover_made_void_waits_again_at_its_place(inbox, by_this_process):
    """Simulated story 609: an author answered behind its successor's cut, led again, and left the question out for ever (D3)."""
    if by_this_process:
        for record in list(inbox.asked)[:2]:
            inbox.answered(record)
    else:
        inbox.forget({"intents/0": 2})
    assert waiting(inbox) == [2]
    inbox.forget({"intents/0": 1, "plans/0": 7})
    assert waiting(inbox) == [1, 2]
    assert "intents/0" not in inbox.inputs
    inbox.forget({"intents/0": 3})
    assert waiting(inbox) == []


def over(name: str, end_ms: int) -> Alarm:
    return Alarm(
        id=f"alertmanager/{name}",
        writer=INBOUND_WRITER,
        name="OrdersLost",
        state=AlarmState.RESOLVED,
        severity=Severity.CRITICAL,
        start_ms=1,
        end_ms=end_ms,
        service="shop",
    )


def test_an_alarm_that_was_forgotten_is_no_fault_and_no_news_and_the_last_end_stays(inbox):
    first, last = over("a1", 2), over("a2", 3)
    for offset, one in enumerate((first, last)):
        inbox.take_news(Record("alarms", 0, offset, 0, one.key, encode(one), {}))
    assert inbox.news
    inbox.news = False
    for offset, one in enumerate((first, last), 2):
        inbox.take_news(Record("alarms", 0, offset, 0, one.key, None, {}))
    assert (inbox.inputs["alarms/0"], inbox.view.ended, inbox.news) == (4, {last.key: last}, False)
    with pytest.raises(Malformed):
        inbox.take_news(Record("verdicts", 0, 0, 0, "svc/shop", None, {}))
