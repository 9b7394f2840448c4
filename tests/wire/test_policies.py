import pytest

from tidegate.wire.codec import Malformed, convert
from tidegate.wire.policies import Freeze, Policy, Recurring, policy_faults


def policy(**fields):
    return convert({"kind": "Policy", "name": "calm", "fleet": "test", "issuedMs": 1} | fields, Policy)


def freeze(**fields):
    return {"freezes": [fields]}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"freeze": []}, "freeze"),
        ({"services": ["two words"]}, "services[0]"),
        (freeze(until=1), "until"),
        (freeze(recurring={"start": "fri 24:00", "end": "mon 08:00"}), "start"),
        (freeze(recurring={"start": "friday 16:00", "end": "mon 08:00"}), "start"),
        (freeze(recurring={"start": "16:00", "end": "08:00", "utcOffset": "CET"}), "utcOffset"),
        ({"rollbackBudget": {"rollbacks": 0}}, "rollbacks"),
        ({"rollbackBudget": {"within": "1h"}}, "rollbacks"),
        ({"dwell": "soon"}, "dwell"),
    ],
)
def test_what_is_misspelt_in_a_policy_is_refused_and_not_left_out(fields, path):
    with pytest.raises(Malformed) as raised:
        policy(**fields)
    assert path in str(raised.value)


@pytest.mark.parametrize(
    ("freeze", "path"),
    [
        (Freeze(from_ms=2, until_ms=2), "freezes[0].untilMs"),
        (Freeze(recurring=Recurring(start="fri 16:00", end="08:00")), "freezes[0].recurring.end"),
        (Freeze(recurring=Recurring(start="08:00", end="08:00")), "freezes[0].recurring.end"),
    ],
)
def test_a_calendar_that_cannot_be_meant_is_named_with_its_path(freeze, path):
    assert [at for at, _ in policy_faults(Policy(name="calm", fleet="test", freezes=(freeze,), issued_ms=1))] == [path]


def test_a_policy_that_says_nothing_is_empty():
    assert policy().empty
    for said in (freeze(), {"rollbackBudget": {"rollbacks": 1}}, {"dwell": "1m"}, {"secondApprover": True}):
        assert not policy(**said).empty
