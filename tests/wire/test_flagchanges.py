"""What is asked of flags, as it travels: verbatim parts stay as they were written, faults name their path."""

import msgspec
import pytest
from tests.rollout.flags import ramp, spec

from tidegate.wire.codec import decode_strict, encode
from tidegate.wire.flagchanges import FlagChange, RampStage, ramp_faults
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.flagstates import spec_digest
from tidegate.wire.plans import Pause

WRITTEN = b'{"variants": {"on": true,  "off": false}, "state": "ENABLED", "defaultVariant": null}'


@pytest.mark.parametrize("value", [b'{"staff": {"==": [1, 1]}}', b"{}", b'{"a":null}'])
def test_a_value_is_read_and_written_as_it_was_written(value):
    """A union of verbatim JSON and null is read by msgspec as null alone: found by a story on a simulated log."""
    sent = encode(FlagChange(value=msgspec.Raw(value)))
    again = decode_strict(sent, FlagChange)
    assert bytes(again.value) == value
    assert encode(again) == sent


def test_without_a_value_there_is_none():
    assert encode(FlagChange()) == b"{}"
    assert decode_strict(b"{}", FlagChange).value is msgspec.UNSET


def test_a_definition_with_null_is_written_although_nulls_are_looked_at():
    """What NaN becomes is null, so numbers are looked at where one stands: not those of verbatim parts."""
    wanted = FlagSpec(definition=msgspec.Raw(WRITTEN), safe_variant="off", immediate=True)
    assert WRITTEN in encode(FlagChange(spec=wanted))
    assert bytes(decode_strict(encode(wanted), FlagSpec).definition) == WRITTEN


def test_what_names_a_spec_is_not_changed_by_spaces_or_the_order_of_keys():
    one = FlagSpec(definition=msgspec.Raw(WRITTEN), safe_variant="off", immediate=True)
    other = b'{"state":"ENABLED","variants":{"off":false,"on":true}}'
    assert spec_digest(one) == spec_digest(msgspec.structs.replace(one, definition=msgspec.Raw(other)))
    assert spec_digest(spec()) != spec_digest(spec("off"))


@pytest.mark.parametrize(
    ("stages", "path"),
    [
        ((RampStage(set_weight=100),), ""),
        ((RampStage(set_weight=50),), "stages[0].setWeight"),
        ((RampStage(set_weight=50), RampStage(set_weight=20)), "stages[1].setWeight"),
        ((RampStage(set_weight=100, pause=Pause(ask="jira")),), "stages[0].pause.duration"),
    ],
)
def test_faults_of_a_ramp_name_their_path(stages, path):
    found = [at for at, _ in ramp_faults(ramp(*stages))]
    assert found[:1] == ([path] if path else [])
