"""Long runs: what has been played is kept, and goes on from there as long as the code is the same."""

import os
import subprocess
import sys

import msgspec
from tests.protocol import runner
from tests.protocol.runner import Progress, Tally

A_MILLION = """
import pathlib, sys
from tests.protocol import runner
print(runner.run(40, 1_000_000, 1, pathlib.Path(sys.argv[1])).stories)
"""


def test_what_was_played_is_not_played_again(tmp_path):
    kept = tmp_path / "progress.json"
    tally = runner.run(40, 2, 1, kept)
    assert (tally.stories, tally.failed) == (2, [])
    again = runner.run(40, 2, 1, kept)
    assert (again.stories, again.cpu_s) == (2, tally.cpu_s)


def test_another_code_or_other_seeds_begin_anew(tmp_path):
    kept = tmp_path / "progress.json"
    Progress(runner.code_digest(), 40, {40}, Tally(stories=50)).keep(kept)
    assert Progress.of(kept, 40).done == {40}
    assert Progress.of(kept, 1_000).done == set()
    Progress("another", 40, {40}, Tally(stories=50)).keep(kept)
    assert Progress.of(kept, 40).tally.stories == 0


def test_an_interrupted_run_says_what_came_of_it_so_far(tmp_path):
    kept = tmp_path / "progress.json"
    with subprocess.Popen(
        [sys.executable, "-c", A_MILLION, str(kept)],
        cwd=runner.ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while "begins to play" not in (process.stderr or sys.stderr).readline():
            pass
        process.terminate()
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert msgspec.json.decode(kept.read_bytes(), type=Progress).tally.stories == int(said.split()[-1]) < 10**6
