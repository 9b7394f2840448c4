"""Flags as they were decided and published, version by version, with everything that was read for them.

``PYTHONPATH=. .venv/bin/python -m tests.golden.flags NUMBER`` adds a file; those that are there are never written again. Each is
the log of a simulated fleet whose decision agents are the real ones: toggles, a ramp that passes and one that fails, kills,
shares, shared rules, a name that is archived, a death, and a release that takes the code of a flag away.
"""

import asyncio
import sys
from pathlib import Path

import cramjam
import msgspec
from tests.decider.flagkit import Place
from tests.rollout.flags import ramp, spec

from tidegate.ports import Record
from tidegate.wire.documents import Verb
from tidegate.wire.flagchanges import FlagChange
from tidegate.wire.flagspecs import Layer, Prerequisite, RequiredVersion
from tidegate.wire.judgement import Outcome

HERE = Path(__file__).parent
TOPICS = ("keys", "plans", "intents", "reports", "verdicts", "alarms", "desired", "decisions", "flags")
OTHER, NEEDY = "flag/web/other", "flag/web/needy"
BLUE = {"on": 1, "off": 0, "blue": 2}


def flag_ledger(number: int) -> list[Record]:
    """Return the records of one file, topic by topic in the order of their offsets."""
    data = bytes(cramjam.zstd.decompress((HERE / f"flags-{number}.zst").read_bytes()))
    return [Record(*fields) for fields in msgspec.msgpack.decode(data)]


def numbers() -> list[int]:
    """Return the numbers of the files."""
    return sorted(int(path.stem.partition("-")[2]) for path in HERE.glob("flags-*.zst"))


async def told() -> list[Record]:
    """Play the story and return its log."""
    place = Place()
    await place.enrol()
    await place.install()
    staff = FlagChange(value=msgspec.Raw(b'{"staff": {"in": ["@b", {"var": "email"}]}}'))
    await place.want(Verb.SET, "flag/web/$evaluators", flag=staff)
    await place.put(spec(immediate=True, layer=Layer(name="price", first=0, count=5_000)), subject=OTHER)
    await place.put(spec("nothing"), ramp())
    await place.clock.advance(1)
    # A ramp that passes, beside what needs it and the code.
    await place.put(spec(variants=BLUE, targeting={"if": [{"$ref": "staff"}, "blue", None]}), ramp())
    await place.judged(5)
    await place.want(Verb.PAUSE)
    await place.judged(1)
    await place.want(Verb.SHARE, weight=300)
    await place.judged(1)
    await place.want(Verb.RESUME)
    await place.put(
        spec(
            immediate=True,
            prerequisites=(Prerequisite(flag="other", variants=("on",)),),
            requires_version=(RequiredVersion(service="shop", version="v1"),),
        ),
        subject=NEEDY,
    )
    await place.judged(45)
    # Another is killed half way, comes back under another author, and is switched off.
    await place.put(spec("blue", variants=BLUE), ramp())
    await place.judged(3)
    await place.want(Verb.KILL, generation=0)
    await place.judged(2)
    place.start("b")
    await place.clock.advance(1)
    await place.kill("a")
    await place.clock.advance(15)
    await place.want(Verb.RESTORE)
    await place.clock.advance(1)
    await place.want(Verb.RESUME)
    await place.judged(15)
    await place.judge(Outcome.FAIL)
    await place.clock.advance(1)
    await place.want(Verb.RESTORE)
    await place.want(Verb.KILL, OTHER)
    await place.clock.advance(1)
    await place.want(Verb.RESTORE, OTHER)
    await place.clock.advance(1)
    # The code goes back; one flag goes for good.
    await place.intend("abort", Verb.ABORT)
    await place.clock.advance(1)
    await place.want(Verb.RESTORE, NEEDY)
    await place.want(Verb.ARCHIVE)
    await place.clock.advance(1)
    await place.end()
    return [record for topic in TOPICS for record in place.log.topic(topic)]


if __name__ == "__main__":
    path = HERE / f"flags-{int(sys.argv[1])}.zst"
    if path.exists():
        raise SystemExit(f"{path} is there: a golden file is never written again")
    path.write_bytes(bytes(cramjam.zstd.compress(msgspec.msgpack.encode(asyncio.run(told())), 19)))
