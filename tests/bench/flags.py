"""What evaluating flags costs, in process: an evaluation of each kind, beside flagd's own evaluator for Python in the same run;
loading and holding 10,000 flags; following 100,000 changes.

One core, CPU time, no broker. An evaluation is the fastest of many repetitions of a thousand: what a shared machine moves least.
"""

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from openfeature import api
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from tests.bench.measure import rss_mib
from tests.flags.kit import NOW_S
from tests.sdk.flagkit import Service

from tidegate.flags.evaluate import Asked, evaluate
from tidegate.flags.store import Flags
from tidegate.wire.flags import METADATA, Bucketing, Kind, TopicKey

FLAGS, CHANGES = 10_000, 100_000
CALLS, REPETITIONS = 1_000, 60
RULE = {
    "if": [
        {"and": [{"ends_with": [{"var": "email"}, "@example.com"]}, {"in": [{"var": "country"}, ["de", "fr", "nl"]]}]},
        {"fractional": [["a", 50], ["b", 50]]},
        "c",
    ]
}
STATIC = b'{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"}'
CONTEXT = {"targetingKey": "u4", "email": "kim@example.com", "country": "nl", "plan": "pro", "age": 42}


def flags() -> dict[str, object]:
    """Measure everything."""
    return {
        "evaluation_us": {bucketing.value: _evaluation_us(bucketing) for bucketing in Bucketing}
        | {"flagd's own, v3": _stock_us(), "v2, through OpenFeature's client, hooks off": _client_us()},
        "of_10000_flags": _holding(),
        "changes_us": _changes_us(),
    }


def _value(number: int) -> bytes:
    variants = {"a": f"a{number}", "b": "b", "c": "c"}
    metadata = {"owner": "team", "version": number}
    plain = {"state": "ENABLED", "variants": variants, "defaultVariant": "c", "targeting": RULE, "metadata": metadata}
    return json.dumps(plain).encode()


def _evaluation_us(bucketing: Bucketing) -> dict[str, float]:
    held = Flags()
    held.put(TopicKey("web", METADATA), json.dumps({"bucketing": bucketing}).encode())
    held.put(TopicKey("web", "static"), STATIC)
    held.put(TopicKey("web", "targeted"), _value(1))
    found = held.sets["web"]
    return {
        "static": _us(lambda: evaluate(found, "static", Asked(context=CONTEXT, now_s=NOW_S, kind=Kind.BOOLEAN, default=False))),
        "targeting and fractional": _us(
            lambda: evaluate(found, "targeted", Asked(context=CONTEXT, now_s=NOW_S, kind=Kind.STRING, default="code"))
        ),
    }


def _stock_us() -> dict[str, float]:
    core = FlagdCore()
    core.set_flags({"flags": {"static": json.loads(STATIC), "targeted": json.loads(_value(1))}})
    context = EvaluationContext(
        CONTEXT["targetingKey"], {name: value for name, value in CONTEXT.items() if name != "targetingKey"}
    )
    return {
        "static": _us(lambda: core.resolve_boolean_value("static", False, context)),
        "targeting and fractional": _us(lambda: core.resolve_string_value("targeted", "code", context)),
    }


def _client_us() -> dict[str, float]:
    """Through the client as a service calls it. The flags are read from a log in memory by the provider's own thread."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        service.put("web/static", STATIC)
        service.put("web/targeted", _value(1))
        service.begin()
        client, nobody = service.client, api.get_client("nobody")  # without a provider, OpenFeature's own that does nothing
        context = EvaluationContext("u4", {key: CONTEXT[key] for key in CONTEXT if key != "targetingKey"})
        try:
            return {
                "the client alone": _us(lambda: nobody.get_boolean_value("static", False, context)),
                "static": _us(lambda: client.get_boolean_value("static", False, context)),
                "targeting and fractional": _us(lambda: client.get_string_value("targeted", "code", context)),
            }
        finally:
            service.end()


def _us(call: Callable[[], object]) -> float:
    def once() -> None:
        for _ in range(CALLS):
            call()

    return round(min(_cpu_s(once) for _ in range(REPETITIONS)) / CALLS * 1e6, 2)


def _holding() -> dict[str, float]:
    """Load 10,000 flags, then ask for each once, which makes its rule ready."""
    values = [_value(number) for number in range(FLAGS)]
    held = Flags()
    gc.collect()
    before_mib = rss_mib(os.getpid())

    def load() -> None:
        for number, value in enumerate(values):
            held.put(TopicKey("web", f"flag-{number}"), value)

    def ask() -> None:
        for number in range(FLAGS):
            evaluate(held.sets["web"], f"flag-{number}", Asked(context=CONTEXT, now_s=NOW_S))

    return {
        "load_s": round(_cpu_s(load), 2),
        "first_evaluation_of_all_s": round(_cpu_s(ask), 2),
        "mib": round(rss_mib(os.getpid()) - before_mib, 1),
        "bytes_of_a_definition": len(values[0]),
    }


def _changes_us() -> list[float]:
    """Return what a change costs in each tenth of 100,000 changes of 10,000 flags, each evaluated: level where it is linear."""
    held, values = Flags(), [_value(number) for number in range(100)]

    def tenth(begin: int) -> None:
        for number in range(begin, begin + CHANGES // 10):
            key = f"flag-{number % FLAGS}"
            held.put(TopicKey("web", key), values[number % len(values)])
            evaluate(held.sets["web"], key, Asked(context=CONTEXT, now_s=NOW_S))

    return [
        round(_cpu_s(lambda begin=begin: tenth(begin)) / (CHANGES // 10) * 1e6, 1) for begin in range(0, CHANGES, CHANGES // 10)
    ]


def _cpu_s(work: Callable[[], None]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


__all__ = ["flags"]
