"""What clients see of a flag's new variant, and the file that brings it."""

import pytest

from tidegate.cli.flag_file import read_change
from tidegate.demo.checkout import FLAG, Sightings, write_flag
from tidegate.demo.load import Answer
from tidegate.demo.shop import CLASSIC, EXPRESS
from tidegate.wire.flags import topic_key


def answer(at_s: float, server: int, user: int, checkout: str = EXPRESS, status: int = 200) -> Answer:
    return Answer(server, user, status, "v1", checkout, at_s, last=False)


NEW = [answer(1, 0, 7), answer(2, 1, 8, status=500)]


@pytest.mark.parametrize(
    ("answers", "off_s"),
    [
        pytest.param([], None, id="what was never on is not off"),
        pytest.param(NEW, None, id="two servers have it"),
        pytest.param([*NEW, answer(3, 0, 1, CLASSIC), answer(3, 1, 1, CLASSIC)], None, id="who never had it says nothing"),
        pytest.param([*NEW, answer(3, 0, 7, CLASSIC)], None, id="one server has it still"),
        pytest.param([*NEW, answer(3, 0, 8, CLASSIC), answer(4, 1, 7, CLASSIC), answer(5, 1, 8, CLASSIC)], 4, id="both are off"),
        pytest.param([*NEW, answer(3, 0, 7, CLASSIC), answer(4, 1, 7, CLASSIC), answer(5, 1, 7)], None, id="a late one counts"),
    ],
)
def test_a_server_is_off_when_a_user_who_had_it_has_it_no_more(answers, off_s):
    seen = Sightings(servers=2)
    for one in answers:
        seen.heard(one)
    assert seen.off_s == off_s


def test_the_share_is_of_what_was_answered_while_it_was_on():
    seen = Sightings(servers=2)
    before, after = answer(0, 0, 1, CLASSIC), [answer(3, server, 7, CLASSIC) for server in (0, 1, 0, 1)]
    for one in (before, *NEW, *after):
        seen.heard(one)
    assert (seen.shown, seen.answers, seen.first_bad_s) == (2, 3, 2)


def test_the_file_is_one_that_flag_set_takes(tmp_path):
    change = read_change(write_flag(tmp_path, "one"), topic_key(FLAG))
    assert change.ramp is not None
    assert [stage.set_weight for stage in change.ramp.stages] == [10, 100]
