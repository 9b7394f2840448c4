import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.decider.leadership import Leadership, claimed, heard, may_claim
from tidegate.wire.documents import Claim, Heartbeat

A = Leadership(epoch=3, life="a", heard_s=10)


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
    assert claimed(A, claim(epoch, life), 11).life == author


@pytest.mark.parametrize(
    ("beat", "heard_s"),
    [
        (heartbeat(3, "a"), 12),  # the author's own word
        (heartbeat(3, "b"), 10),  # somebody who lost this epoch
        (heartbeat(2, "a"), 10),  # a former life's word
    ],
)
def test_only_the_author_is_heard(beat, heard_s):
    assert heard(A, beat, 12).heard_s == heard_s


@pytest.mark.parametrize(
    ("leadership", "now_s", "free"),
    [
        (Leadership(), 0, True),  # an empty log
        (A, 18.999, False),  # 9 s of silence are not over
        (A, 19, True),  # they are
        (heard(A, heartbeat(3, "a", resigned=True), 10), 10, True),  # a resignation
    ],
)
def test_the_place_is_free_when_nobody_holds_it_any_more(leadership, now_s, free):
    assert may_claim(leadership, now_s, 9) is free


lives = st.sampled_from("abc")
documents = st.lists(
    st.one_of(
        st.builds(claim, st.integers(1, 6), lives),
        st.builds(
            lambda epoch, life, resigned: heartbeat(epoch, life, resigned=resigned), st.integers(1, 6), lives, st.booleans()
        ),
    ),
    max_size=30,
)


def folded(read) -> Leadership:
    leadership = Leadership()
    for at, document in read:
        leadership = claimed(leadership, document, at) if isinstance(document, Claim) else heard(leadership, document, at)
    return leadership


@given(documents)
def test_whoever_reads_a_compacted_log_names_the_same_author(written):
    read = list(enumerate(written))
    key = {at: f"claim/{one.epoch}/{one.life}" if isinstance(one, Claim) else "heartbeat" for at, one in read}
    # A claim is written once: its key stands once in the log (E2).
    once = [(at, one) for at, one in read if key[at] == "heartbeat" or at == min(i for i in key if key[i] == key[at])]
    last = {key[at]: at for at, _ in once}
    compacted = [(at, one) for at, one in once if last[key[at]] == at]
    assert (folded(compacted).epoch, folded(compacted).life) == (folded(once).epoch, folded(once).life)


@given(documents)
def test_an_epoch_never_changes_its_author(written):
    authors = {}
    leadership = Leadership()
    for at, document in enumerate(written):
        leadership = claimed(leadership, document, at) if isinstance(document, Claim) else heard(leadership, document, at)
        assert authors.setdefault(leadership.epoch, leadership.life) == leadership.life
    assert list(authors) == sorted(authors)
