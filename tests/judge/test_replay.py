import os
import subprocess
import sys
from pathlib import Path

from tests.judge.replay_main import outcomes

from tidegate.wire.judgement import Outcome

TOP = Path(__file__).resolve().parents[2]


def replayed(hash_seed: str) -> str:
    paths = os.pathsep.join(str(TOP / name) for name in ("", "schemas", "streams"))
    run = [sys.executable, "-m", "tests.judge.replay_main"]
    done = subprocess.run(run, cwd=TOP, env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}, capture_output=True, check=True)
    return done.stdout.decode()


def test_a_replay_gives_the_same_bytes_under_every_hash_seed():
    first = replayed("1")
    assert int(first.split()[0]) > 500
    assert replayed("2") == first


def test_the_log_that_is_replayed_holds_what_can_go_wrong():
    found = [*outcomes()]
    assert {verdict.subject for one in found for verdict in one.verdicts if verdict.outcome is Outcome.FAIL} == {
        "svc/cart",
        "flag/web/dark",
    }
    assert any(one.alarms for one in found)
    assert any(one.scores for one in found)
