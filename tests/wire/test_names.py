import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import Malformed, convert
from tidegate.wire.documents import Order
from tidegate.wire.names import Duration, Name, Sha256, Share, Subject, duration_ms, service_of, service_subject, share_of
from tidegate.wire.reasons import Reason


@pytest.mark.parametrize(
    ("text", "whole", "count"),
    [("25%", 12, 3), ("24%", 12, 2), ("1%", 12, 1), ("100%", 12, 12), ("5", 3, 3), ("0", 3, 1), ("999%", 7, 7), ("50%", 0, 0)],
)
def test_a_share_is_rounded_down_and_at_least_one_of_those_there_are(text, whole, count):
    assert share_of(text, whole) == count


@given(st.integers(0, 999), st.integers(0, 10_000))
def test_a_share_never_exceeds_the_whole(percent, whole):
    assert min(1, whole) <= share_of(f"{percent}%", whole) <= whole


@pytest.mark.parametrize(
    ("text", "ms"), [("0s", 0), ("250ms", 250), ("90s", 90_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
)
def test_durations_are_read_in_their_units(text, ms):
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1.5s", "5 s", "5w", "5s\n"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="90s"):
        duration_ms(text)


@given(st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True))
def test_a_service_and_its_subject_name_each_other(service):
    assert service_of(service_subject(service)) == service
    assert service_of(f"flag/{service}/{service}") is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [(Name, "n1"), (Subject, "svc/shop"), (Subject, "flag/web/dark"), (Sha256, "a" * 64), (Duration, "5s"), (Share, "25%")],
)
def test_a_name_with_a_newline_behind_it_is_no_name(kind, text):
    assert convert(text, kind) == text
    for wrong in (f"{text}\n", f"\n{text}", ""):
        with pytest.raises(Malformed):
            convert(wrong, kind)


def test_order_is_root_version_then_epoch_then_generation():
    assert Order(1, 9, 9) < Order(2, 0, 0)
    assert Order(1, 1, 9) < Order(1, 2, 0)
    assert Order(1, 1, 1) < Order(1, 1, 2)


def test_reasons_are_words_for_labels():
    assert all(re.fullmatch(r"[a-z0-9_]+", reason) for reason in Reason)
