"""Tables for people and for pipes."""

import pytest

from tidegate.cli.output import show


def test_a_table_that_goes_through_a_pipe_is_neither_cut_nor_wrapped_nor_padded(capsys: pytest.CaptureFixture[str]) -> None:
    problem = "a long story " * 20
    show([{"node": "n" * 90, "problem": problem}, {"node": "n2", "problem": ""}], "table", empty="none")
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["node", "problem"]
    assert first == f"{'n' * 90}  {problem}".rstrip()
    assert second == "n2"


def test_what_people_wrote_is_shown_as_they_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    """It was read as rich's markup: one such reason ended every list in a traceback, or was not all there."""
    reasons = ["because [/oops] of it", "[hotfix] :warning:", "[link=x]", "[/]"]
    show([{"node": "n1", "[a]": reason} for reason in reasons], "table", empty="none")
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["node", "[a]"]
    assert [row.removeprefix("n1").strip() for row in rows] == reasons
