"""The log of one partition in which rollouts succeed, fail and retreat: rows, marks and contexts as intake and decide write them.

Made from a seed, so that every run of a test folds the same records.
"""

import random
from collections.abc import Iterator

from msgspec.structs import replace
from tests.kpi.rows import PARTITIONS, histogram

from tidegate.kpi.columns import RowWriter
from tidegate.wire.nodeseconds import CohortMembers, Context, Record
from tidegate.wire.plans import Guardrail
from tidegate.wire.telemetry import Histogram, ServiceState, Slice, Source, Telemetry

BEGIN_MS = 1_700_000_040_000
STEP_MS = 200
"""Between two flushes of intake."""
SECONDS = 90
NODES = 8
SERVICES = ("free", "good", "slow", "wrong")
"""One without a rollout, one that is promoted to the end, one that is rolled back for its latency, one for its errors."""

Entry = tuple[int, Record]
"""(append time in ms, record)."""

STAGES = {20: (0, 3, 3), 45: (1, 6, 2), 60: (2, 8, 0)}
"""Second to (stage, canaries, controls)."""
FLAG = "flag/web/dark"
FLAG_STAGES = {25: 10, 40: 50}
"""Second to percent."""
FLAG_BREAKS, FLAG_OFF = 55, 62
SLOW_CLOCK_MS = 30_000
"""By which the clock of one node is slow."""
RETREAT = {"wrong": 30, "slow": 44}


def story(seconds: int = SECONDS, begin_ms: int = BEGIN_MS, seed: int = 5) -> Iterator[Entry]:
    """Yield the records in their order."""
    source = random.Random(seed)
    waiting: list[tuple[int, Telemetry]] = []
    writer = RowWriter()
    for tick in range(seconds * 1_000 // STEP_MS):
        now_ms = begin_ms + tick * STEP_MS
        if tick % (1_000 // STEP_MS) == 0:
            second = tick * STEP_MS // 1_000
            yield from ((now_ms, context) for context in contexts(second, begin_ms))
            for row in rows(second, begin_ms, source):
                waiting.append((now_ms + 1_000 + source.randrange(20, 500), row))
                if source.random() < 0.02:
                    waiting.append((now_ms + 1_000 + source.randrange(20, 4_000), row))
                if source.random() < 0.01:
                    waiting[-1] = (now_ms + 4_000, row)
        due = [(at_ms, row) for at_ms, row in waiting if at_ms < now_ms]
        waiting = [(at_ms, row) for at_ms, row in waiting if at_ms >= now_ms]
        for at_ms, row in due:
            writer.add(row, at_ms)
        yield now_ms, writer.flush(dict.fromkeys(range(PARTITIONS), now_ms))


def contexts(second: int, begin_ms: int) -> Iterator[Context]:
    """Yield what decide writes at the start of a second: every change, and everything again every 10 s."""
    for service in SERVICES:
        now, before = context_of(service, second, begin_ms), context_of(service, second - 1, begin_ms)
        if now != before or second % 10 == 0:
            yield now
    if flag_context(second, begin_ms) != flag_context(second - 1, begin_ms) or second % 10 == 0:
        yield flag_context(second, begin_ms)


def flag_context(second: int, begin_ms: int) -> Context:
    """Return what decide says of the flag in a second: a ramp of two stages, switched off soon after its variant broke."""
    begun = [at for at in FLAG_STAGES if at <= second < FLAG_OFF]
    bare = Context(subject=FLAG, service="free", epoch=1, generation=1 + len(begun) + 5 * (second >= FLAG_OFF))
    if not begun:
        return bare
    return replace(
        bare,
        placement=f"w{FLAG_STAGES[begun[-1]]}",
        rollout="dark.1",
        stage=len(begun) - 1,
        cohorts=(
            CohortMembers(name="canary", version="c0ffee", variants=("on",)),
            CohortMembers(name="control", version="safe", variants=("off",)),
        ),
        guardrails=(Guardrail(metric="errorRatio", max=0.05),),
        min_requests=50,
        started_ms=begin_ms + min(FLAG_STAGES) * 1_000,
    )


def slices(fields: dict, requests: int, latency: Histogram) -> dict[str, Slice]:
    """Return how a row's requests were shared by the variants; without a throw of dice, so that all else stays as it is."""
    second = fields["seq"] - 1
    if fields["service"] != "free" or second < min(FLAG_STAGES):
        return {}
    on = requests // (10 if second < max(FLAG_STAGES) else 2)
    errors = on // 4 if second >= FLAG_BREAKS else 0
    return {f"{FLAG}=on": Slice(on, errors, latency), f"{FLAG}=off": Slice(requests - on, 0, latency), "route=/": Slice(1, 1)}


def context_of(service: str, second: int, begin_ms: int) -> Context:
    """Return what holds of a service in a second."""
    bare = Context(subject=f"svc/{service}", service=service, epoch=1, generation=max(1, second), rest_version="v1")
    begun = [at for at in STAGES if at <= second]
    if service == "free" or not begun:
        return replace(bare, generation=1)
    retreat = RETREAT.get(service)
    if retreat is not None and second >= retreat + 8:
        return replace(bare, generation=100)
    if service == "good" and second >= 82:
        return replace(bare, generation=100, rest_version="v2")
    stage, canaries, controls = STAGES[20 if service in RETREAT else begun[-1]]
    cohorts = [CohortMembers(name="canary", version="v2", nodes=tuple(f"{service}{node}" for node in range(canaries)))]
    if controls:
        names = tuple(f"{service}{node}" for node in range(canaries, canaries + controls))
        cohorts.append(CohortMembers(name="control", version="v1", nodes=names))
    return replace(
        bare,
        generation=2 + stage + 10 * (retreat is not None and second >= retreat) + 20 * (second >= 75),
        placement=f"{service}-p{stage}",
        rollout=f"{service}.1",
        stage=stage,
        last_stage=stage == 2,
        watching=second >= 75,
        retreating=retreat is not None and second >= retreat,
        cohorts=tuple(cohorts),
        guardrails=(Guardrail(metric="p95", max_ratio_to_control=1.3), Guardrail(metric="gauge.queue", max=500.0)),
        min_requests=50,
        stage_nodes=canaries,
        started_ms=begin_ms + 20_000,
    )


def rows(second: int, begin_ms: int, source: random.Random) -> Iterator[Telemetry]:
    """Yield what the fleet saw in a second."""
    for service in SERVICES:
        for node in range(NODES):
            changed = _changed(service, node, second)
            new = changed >= 0 and second < RETREAT.get(service, 99) + 2 and node in _canaries(service, second)
            version, boot = ("v2", "b2") if new else ("v1", "b1" if changed < 0 else "b3")
            starting = 0 <= second - changed < 2
            slow_ms = SLOW_CLOCK_MS if (service, node) == ("free", 6) else 0
            start_ms = begin_ms + second * 1_000 - slow_ms
            fields = {"node": f"{service}{node}", "service": service, "version": version, "start_ms": start_ms}
            state = ServiceState.STARTING if starting else ServiceState.READY
            changed_ms = begin_ms + changed * 1_000 if changed >= 0 else 0
            yield Telemetry(boot="agent", seq=second + 1, source=Source.AGENT, state=state, changed_ms=changed_ms, **fields)
            silent = starting or (service == "good" and node == 7 and 50 <= second < 56)
            if not silent:
                yield _telemetry(fields | {"boot": boot, "seq": second + 1}, new, service, source)


def _canaries(service: str, second: int) -> range:
    reached = [canaries for at, (_, canaries, _) in STAGES.items() if at <= second and (at == 20 or service == "good")]
    return range(max(reached, default=0))


def _changed(service: str, node: int, second: int) -> int:
    """Return the second of a node's last change; -1: none yet."""
    if service == "free":
        return -1
    last = RETREAT.get(service)
    if last is not None and second >= last and node < 3:
        return last
    reached = [at for at, (_, canaries, controls) in STAGES.items() if at <= second and node < canaries + controls]
    return reached[0] if reached and (last is None or node < 6) else -1


def _telemetry(fields: dict, new: bool, service: str, source: random.Random) -> Telemetry:
    requests = source.randrange(20, 60)
    bad = 0.3 if new and service == "wrong" and fields["seq"] > 25 else 0.002
    slower = 3.0 if new and service == "slow" else 1.0
    errors = sum(source.random() < bad for _ in range(requests))
    latency = histogram(*(source.lognormvariate(-3.2, 0.3) * slower for _ in range(requests)))
    gauges = {"queue": source.uniform(0, 50), "heap": 1e6 * source.random()}
    return Telemetry(
        requests=requests,
        errors=errors,
        latency=latency,
        gauges=gauges,
        counters={"orders": source.randrange(5)},
        ratios={"cache": (source.randrange(9), 9)},
        slices=slices(fields | {"service": service}, requests, latency),
        **fields,
    )
