"""Five rollouts on real Kafka while everything is killed, stopped, cut, filled and set wrong; a verifier of its own reads beside.

The faults are drawn from a seed that is told; ``TIDEGATE_KILLS_SEED`` plays one again. A hundred: ``tests/prove/kills.py``.
"""

import os
import random
import sys
from statistics import median

import pytest
from tests.scenarios.kills.faults import Kind
from tests.scenarios.kills.play import Course, play

pytestmark = [pytest.mark.kafka, pytest.mark.scenario]
SEED = int(os.environ.get("TIDEGATE_KILLS_SEED") or random.SystemRandom().randrange(1 << 20))


async def test_five_rounds_lose_double_and_contradict_nothing(tmp_path, say):
    course = Course(SEED, rounds=5, deciders=2, nodes=4)
    sys.stdout.write(f"TIDEGATE_KILLS_SEED={SEED}\n")
    found = await play(tmp_path, course, print)
    say(
        f"seed {SEED}: {found['applied_changes']} applied changes, {found['lost']} lost, {found['doubled']} doubled, "
        f"{found['contradicting']} contradicting; a takeover {max(found['takeovers_ms']) / 1000:.1f} s after kill -9; "
        f"a command applied {median(found['applied_after_ms']) / 1000:.1f} s after (median)",
    )
    assert found["findings"] == []
    # A version that does not start where the disk is full is taken back: that is how it should end.
    assert [one for one in found["otherwise"] if Kind.FILL_DISK.name not in one] == []
    assert found["applied_changes"] > 0
    kinds = {kind.name for kind in Kind}
    if not found["small_disk"]:
        say("no small disk could be mounted without root or sudo -n: nobody's disk was full")
        kinds.remove(Kind.FILL_DISK.name)
    assert kinds <= found["faults"].keys()
