"""Whatever flagd's own evaluator answers, ours answers: value and its type, variant, reason, error code."""

import importlib
from collections import Counter
from functools import partial
from random import Random
from types import SimpleNamespace

import pytest
from json_logic import jsonLogic
from tests.flags.kit import NOW_S, load
from tests.flags.matrix import Rules, cases, context, flags
from tests.flags.stock import Stock

from tidegate.flags.evaluate import Asked, evaluate
from tidegate.flags.rules import compiled
from tidegate.flags.work import Run
from tidegate.wire.flags import Bucketing

stock_targeting = importlib.import_module("openfeature.contrib.tools.flagd.core.targeting.targeting")
"""By its name: a function of the same name hides the module in its package."""


def ours(flag_set, case):
    found = evaluate(flag_set, case.key, Asked(context=case.context, now_s=NOW_S, kind=case.kind, default=case.default))
    return found.value, found.variant, found.reason.value, found.error_code and found.error_code.value


@pytest.mark.parametrize("seed", range(1))
def test_all_of_a_thousand_cases_agree(seed, monkeypatch):
    monkeypatch.setattr(stock_targeting, "time", SimpleNamespace(time=lambda: NOW_S))
    chance = Random(seed)
    file = flags(chance)
    stock, flag_set = Stock(file), load(file)
    asked = cases(chance, file, 1_000)
    answers = [(case, stock.answer(case), ours(flag_set, case)) for case in asked]
    differ = [
        (case, file["flags"].get(case.key), want, got)
        for case, want, got in answers
        if want != got or type(want[0]) is not type(got[0])
    ]
    assert not differ
    reasons, codes = Counter(got[2] for *_, got in answers), Counter(got[3] for *_, got in answers)
    assert set(reasons) == {"STATIC", "DEFAULT", "TARGETING_MATCH", "DISABLED", "ERROR"}
    assert set(codes) == {None, "FLAG_NOT_FOUND", "PARSE_ERROR", "TYPE_MISMATCH", "GENERAL"}
    assert min(reasons.values()) >= 20


@pytest.mark.parametrize("seed", range(2))
def test_a_rule_means_what_it_means_to_the_library(seed):
    chance = Random(seed)
    rules = Rules(chance, ["on", "off"], [])
    for _ in range(200):
        rule, data = chance.choice([rules.outcome, rules.condition, rules.value])(4), context(chance)
        data |= {"targetingKey": data.get("targetingKey"), "$flagd": {"flagKey": "f", "timestamp": NOW_S}}
        want, got = (
            tried(partial(jsonLogic, rule, data, stock_targeting.OPERATORS)),
            tried(partial(compiled(rule).closure, data, Run({}, Bucketing.V3))),
        )
        assert want == got, (rule, data)


def tried(call):
    try:
        found = call()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return type(error)
    except Exception:  # noqa: BLE001 - ReferenceError there, Unknown here
        return "not known"
    return repr(found)  # which tells 1 from 1.0 and true, and NaN from nothing
