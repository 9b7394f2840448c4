"""Questions: what waits for an answer, and what waits again."""

import pytest
from tests.decider.kit import TRUST

from tidegate.decider.inbox import Inbox
from tidegate.ports import Record


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
