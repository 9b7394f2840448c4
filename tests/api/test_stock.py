"""Clients of others, unmodified, agree with our evaluator on every case of a generated matrix, errors included."""

import asyncio
import time
from collections import Counter
from random import Random

import pytest
from openfeature.contrib.provider.ofrep import OFREPProvider
from tests.api.kit import asked, client_of, flagd_provider
from tests.flags.kit import load
from tests.flags.matrix import cases, flags

from tidegate.flags.evaluate import Asked, evaluate
from tidegate.wire.flags import Kind

COUNT = 1_000
OFREP_TYPES = {
    Kind.BOOLEAN: bool,
    Kind.STRING: str,
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.OBJECT: (dict, list),
}
"""What OpenFeature's OFREP client takes for each type that a caller asks for; the protocol itself has no types (its ADR 3)."""


def resolved(flag_set, case, kind, now_s):
    """Ours. OpenFeature's client makes nothing of an empty targeting key before any provider sees it."""
    context = {name: value for name, value in case.context.items() if name != "targetingKey" or value}
    found = evaluate(flag_set, case.key, Asked(context=context, now_s=now_s, kind=kind, default=case.default))
    return found.value, found.variant, found.reason.value, found.error_code and found.error_code.value


def in_process(flag_set, case, now_s):
    return resolved(flag_set, case, case.kind, now_s)


def remote(flag_set, case, now_s):
    """Asked without a type; then the client looks at the type of what came."""
    value, variant, reason, code = resolved(flag_set, case, None, now_s)
    if code is None and not isinstance(value, OFREP_TYPES[case.kind]):
        return case.default, None, "ERROR", "TYPE_MISMATCH"
    return value, variant, reason, code


def ofrep_provider(place):
    return OFREPProvider(place.served.url)


@pytest.mark.parametrize(("provider", "ours"), [(flagd_provider, in_process), (ofrep_provider, remote)])
async def test_all_of_a_thousand_cases_agree(place, provider, ours):
    chance = Random(7)
    file = flags(chance)
    flag_set = load(file)
    questions = cases(chance, file, COUNT)
    await place.put("web", file)

    def ask(client):
        answers = []
        for case in questions:
            began_s = int(time.time())
            got = asked(client, case)
            # A rule may look at the time, which goes on while it is asked.
            wants = [ours(flag_set, case, now_s) for now_s in range(began_s, int(time.time()) + 1)]
            answers.append((case, wants, got))
        return answers

    async with place.serve(), client_of(provider(place)) as client:
        answers = await asyncio.to_thread(ask, client)
    differ = [
        (case, file["flags"].get(case.key), wants, got)
        for case, wants, got in answers
        if not any(got == want and type(got[0]) is type(want[0]) for want in wants)
    ]
    assert not differ
    reasons, codes = Counter(got[2] for _, _, got in answers), Counter(got[3] for _, _, got in answers)
    assert set(reasons) == {"STATIC", "DEFAULT", "TARGETING_MATCH", "DISABLED", "ERROR"}
    assert set(codes) == {None, "FLAG_NOT_FOUND", "PARSE_ERROR", "TYPE_MISMATCH", "GENERAL"}
