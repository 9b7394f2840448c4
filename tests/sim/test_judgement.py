"""The harness: what is counted and how, on pieces that are short."""

import json

import pytest
from tests.bench.judgement import plan
from tests.bench.judgement.picture import picture
from tests.bench.judgement.play import FAULTS, PIPELINE_S, Piece, play
from tests.bench.judgement.runner import run
from tests.bench.judgement.summary import NAMES, quantile, summary, text, upper95

from tidegate.detect.drift.learned import Learned

PIECE = Piece(world="everything", canaries=5, seed=3, hours=0.25, new=True, delays=True)


@pytest.fixture(scope="module")
def found():
    return play(PIECE, Learned())


def test_a_piece_gives_everyone_the_same_hour_and_the_same_faults(found):
    assert set(found["healthy"]) == set(NAMES)
    assert found["healthy"]["drift"]["rollback_s"] is None
    assert [(one["fault"], one["from"]) for one in found["delays"]] == [
        (str(fault.kind), "mid" if fault.onset_s else "restart") for fault in FAULTS
    ]
    five = found["delays"][1]["seconds"]
    assert five["drift"] < 30 < five["argo_style"] == pytest.approx(300 - 1 + PIPELINE_S, abs=3)


@pytest.mark.thorough
def test_a_piece_is_the_same_again(found):
    assert play(PIECE, Learned()) == found


def test_false_rollbacks_faults_that_came_too_late_and_misses_are_counted_apart(found):
    false = json.loads(json.dumps(found))
    false["healthy"]["drift"] |= {"rollback_s": 360.0, "hours": 0.1, "reason": "evidence", "sentence": "Told."}
    false["delays"][4]["seconds"]["drift"] = "before"
    false["delays"][5]["seconds"]["drift"] = None
    result = summary([(PIECE, found), (PIECE, false)], seed=3)
    drift = result["drift"]
    assert (drift["false_rollbacks"], drift["healthy_hours"]) == (1, 0.35)
    cells = {(row["fault"], row["size"], row["from"]): row for row in drift["delays"]}
    assert (cells["errors", 0.05, "mid"]["n"], cells["errors", 0.05, "mid"]["before"]) == (1, 1)
    late = cells["latency", 0.5, "mid"]
    assert (late["n"], late["missed"] >= 1, late["p95_s"]) == (2, True, None)
    assert result["reasons"] == [
        {"world": "everything", "canaries": 5, "seed": 3, "rollback_s": 360.0, "reason": "evidence", "sentence": "Told."}
    ]
    assert set(drift["delays"][0]) >= {"fault", "size", "canaries", "from", "median_s", "p95_s", "missed", "n"}
    assert any("Told." in line for line in text(result))
    assert picture(result).startswith("<svg")


def test_the_bound_is_the_exact_one():
    assert upper95(0, 1.0) == pytest.approx(2.9957, abs=1e-3)
    assert upper95(1, 1.0) == pytest.approx(4.7439, abs=1e-3)
    assert upper95(10, 1.0) == pytest.approx(16.962, abs=1e-2)


def test_a_quantile_that_was_not_reached_is_none():
    assert quantile([1.0, 2.0, float("inf")], 0.5) == 2.0
    assert quantile([1.0, 2.0, float("inf")], 0.95) is None


@pytest.mark.thorough
def test_pieces_that_are_finished_are_not_played_again(tmp_path):
    pieces = [Piece(world="everything", canaries=1, seed=seed, hours=0.02, new=True) for seed in (1, 2)]
    kept = tmp_path / "kept.jsonl"
    first = run(pieces[:1], kept, 1)
    kept.write_text(kept.read_text() + '{"digest": "torn')  # it was interrupted while it wrote
    kept.write_text(kept.read_text() + "\n")
    both = run(pieces, kept, 1)
    assert both[0] == first[0]
    assert len(kept.read_text().splitlines()) == 3


def test_the_plans_hold_the_hours_they_are_asked_for():
    pieces = plan.short(1, 60)
    assert sum(piece.world == plan.WORLD for piece in pieces) >= 60
    long = plan.long(1, 1_000)
    assert sum(piece.world == plan.WORLD for piece in long) >= 1_000
    for world in plan.HARDER:
        assert sum(piece.world == world for piece in long) == 60
    assert sum(piece.delays for piece in long if piece.world == plan.WORLD) >= 150
