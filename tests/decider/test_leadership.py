import pytest

from tidegate.decider.leadership import Leadership, claimed, heard, may_claim
from tidegate.wire.documents import Claim, Heartbeat

A = Leadership(epoch=3, life="a", heard_ms=10_000)


def claim(epoch, life):
    return Claim(fleet="f", epoch=epoch, life=life, read_to=0, issued_ms=0)


def heartbeat(epoch, life, *, resigned=False):
    return Heartbeat(fleet="f", epoch=epoch, life=life, seq=1, issued_ms=0, digest="0" * 64, resigned=resigned)


@pytest.mark.parametrize(
    ("epoch", "life", "author"),
    [
        (4, "b", "b"),  # the first claim for a higher epoch wins
        (3, "b", "a"),  # the second claim for an epoch loses
        (2, "b", "a"),  # an older epoch is void
        (9, "b", "b"),  # epochs may be skipped
    ],
)
def test_the_first_claim_for_the_highest_epoch_wins(epoch, life, author):
    assert claimed(A, claim(epoch, life), 11_000).life == author


@pytest.mark.parametrize(
    ("beat", "heard_ms"),
    [
        (heartbeat(3, "a"), 12_000),  # the author's own word
        (heartbeat(3, "b"), 10_000),  # somebody who lost this epoch
        (heartbeat(2, "a"), 10_000),  # a former life's word
    ],
)
def test_only_the_author_is_heard(beat, heard_ms):
    assert heard(A, beat, 12_000).heard_ms == heard_ms


@pytest.mark.parametrize(
    ("leadership", "now_ms", "free"),
    [
        (Leadership(), 0, True),  # an empty log
        (A, 18_999, False),  # 9 s of silence are not over
        (A, 19_000, True),  # they are
        (heard(A, heartbeat(3, "a", resigned=True), 10_000), 10_000, True),  # a resignation
    ],
)
def test_the_place_is_free_when_nobody_holds_it_any_more(leadership, now_ms, free):
    assert may_claim(leadership, now_ms, 9_000) is free
