"""``tidegate sim``: an episode told again."""

import json

from tidegate.cli.group import run


def test_a_fault_is_rolled_back_with_its_own_exit_code(capsys):
    assert run(["sim", "--hours", "0.05", "--new-service", "--fault", "errors:0.3@30", "-o", "json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["onset_s"] == 30.0
    assert 30.0 < told["rolled_back_s"] < 45.0
    assert told["changes"][-1]["action"] == "rollback"


def test_a_healthy_rollout_ends_well_and_tells_its_changes(capsys):
    assert run(["sim", "--hours", "0.05", "--new-service", "--trace"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("everything, 5 canaries, seed 1, 0.05 h, no fault")
    assert "warming_up" in text


def test_a_fault_that_is_none_is_refused_with_those_that_there_are(capsys):
    assert run(["sim", "--fault", "flood:1"]) == 2
    assert "errors:0.05@730" in capsys.readouterr().err
