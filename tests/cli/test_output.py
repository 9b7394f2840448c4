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
