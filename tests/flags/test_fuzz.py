from tests.flags.fuzz import Fuzz


def test_whatever_comes_nothing_crashes_and_what_cannot_be_used_changes_nothing():
    fuzz = Fuzz(1)
    fuzz.run(5_000)
    assert fuzz.outcomes["taken"] > 500
    assert fuzz.outcomes["refused"] > 500
    assert {"TARGETING_MATCH", "DEFAULT", "GENERAL", "PARSE_ERROR", "TYPE_MISMATCH", "INVALID_CONTEXT"} <= set(fuzz.outcomes)
