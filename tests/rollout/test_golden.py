"""Ledgers of older versions are read as facts (D2)."""

import pytest
from tests.decider.kit import FLEET, TRUST
from tests.golden.ledgers import ledger, numbers

from tidegate.rollout.ledger import Ledger, rebuild
from tidegate.rollout.levels import desired_of
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Desired
from tidegate.wire.envelope import unseal


def rebuilt(number: int) -> Ledger:
    return rebuild((record.offset, record.value) for record in ledger(number) if record.topic == "decisions")


@pytest.mark.parametrize("number", numbers())
def test_every_record_of_an_older_ledger_is_read_and_written_to_the_byte(number):
    for record in ledger(number):
        if record.topic == "decisions":
            assert encode(decode(record.value, Decision)) == record.value


@pytest.mark.parametrize("number", numbers())
def test_an_older_ledger_gives_the_commands_that_were_given(number):
    levels = {record.key: record.value for record in ledger(number) if record.topic == "desired"}
    found = rebuilt(number)
    assert found.seq > 60
    for subject in found.subjects:
        assert desired_of(found, subject, 1, FLEET) == unseal(levels[subject], Desired, TRUST)[0]
