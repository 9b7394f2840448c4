"""flagd's own evaluator for Python, as its provider uses it: what it answers, errors included, as a client would see it."""

import json
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError
from tests.flags.matrix import Case

from tidegate.wire.flags import Kind

Answer = tuple[Any, str | None, str, str | None]
"""Value, variant, reason, error code."""


class Stock:
    def __init__(self, file: dict[str, Any]) -> None:
        self.core = FlagdCore()
        self.core.set_flags(json.dumps(file))

    def answer(self, case: Case) -> Answer:
        core = self.core
        ask: dict[Kind, Any] = {
            Kind.BOOLEAN: core.resolve_boolean_value,
            Kind.STRING: core.resolve_string_value,
            Kind.INTEGER: core.resolve_integer_value,
            Kind.FLOAT: core.resolve_float_value,
            Kind.OBJECT: core.resolve_object_value,
        }
        attributes = {name: value for name, value in case.context.items() if name != "targetingKey"}
        try:
            found = ask[case.kind](case.key, case.default, EvaluationContext(case.context.get("targetingKey"), attributes))
        except OpenFeatureError as error:
            return case.default, None, "ERROR", error.error_code.value
        except Exception:  # noqa: BLE001 - a client of OpenFeature makes GENERAL of whatever else an evaluator raises
            return case.default, None, "ERROR", "GENERAL"
        reason = getattr(found.reason, "value", found.reason)
        return found.value, found.variant, reason, None
