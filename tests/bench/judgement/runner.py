"""Plays pieces on all cores and keeps each that is finished: what an interruption left is taken up where it was."""

import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.bench.judgement.play import DRIFT, Piece, play, record, sources_digest

from tidegate.detect.drift.learned import Learned

Played = list[tuple[Piece, dict[str, Any]]]
TELL_EVERY_S = 10


def run(pieces: Sequence[Piece], kept: Path, processes: int) -> Played:
    """Return all pieces with what they gave, in their order. ``kept``: a file of JSON lines, read first and then added to."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    digest = sources_digest()
    known = _read(kept, digest)
    left = [piece for piece in pieces if _key(piece) not in known]
    if len(left) < len(pieces):
        _tell(f"{len(pieces) - len(left)} of {len(pieces)} pieces are in {kept.name} already")
    began_s = told_s = time.monotonic()
    with kept.open("a") as file, multiprocessing.get_context("spawn").Pool(processes) as pool:
        worlds = sorted({piece.world for piece in left if not piece.new})
        records = dict(zip(worlds, pool.map(record, worlds, chunksize=1), strict=True))
        work = [(piece, Learned() if piece.new else records[piece.world]) for piece in left]
        for number, (piece, found) in enumerate(pool.imap_unordered(_play, work), start=1):
            known[_key(piece)] = found
            line = {"digest": digest, "piece": msgspec.to_builtins(piece), "found": found}
            file.write(json.dumps(line) + "\n")
            file.flush()
            if found["healthy"][DRIFT]["rollback_s"] is not None:
                _tell(f"false rollback: {_key(piece)}: {found['healthy'][DRIFT]['sentence']}")
            now_s = time.monotonic()
            if now_s - told_s > TELL_EVERY_S or number == len(left):
                told_s = now_s
                left_s = (now_s - began_s) / number * (len(left) - number)
                _tell(f"{number} of {len(left)} pieces, {now_s - began_s:.0f} s, about {left_s:.0f} s to go")
    return [(piece, known[_key(piece)]) for piece in pieces]


def _play(work: tuple[Piece, Learned]) -> tuple[Piece, dict[str, Any]]:
    return work[0], play(*work)


def _key(piece: Piece) -> str:
    return msgspec.json.encode(piece).decode()


def _read(kept: Path, digest: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in kept.read_text().splitlines() if kept.exists() else ():
        try:
            one = json.loads(line)
        except ValueError:
            continue  # the line that was being written when it ended
        if one["digest"] == digest:
            found[_key(msgspec.convert(one["piece"], Piece))] = one["found"]
    return found


def _tell(words: str) -> None:
    print(f"  {words}", file=sys.stderr, flush=True)
