"""The short sibling of ``make prove ARGS="--only fuzz"``, and the grammar itself."""

import pytest
from tests.prove.fuzz import run
from tests.worker.grammar import Grammar

from tidegate.wire.codec import Malformed
from tidegate.wire.telemetry import decode

MESSAGES = 20_000


@pytest.mark.kafka
async def test_of_20_000_fuzzed_messages_each_is_accepted_or_a_dead_letter_and_the_judge_has_every_row(kafka, tmp_path, say):
    found = await run(tmp_path, kafka, MESSAGES)
    assert found["accepted"] + found["dead_letters"] == MESSAGES
    say(f"{MESSAGES} sent: {found['accepted']} accepted, {found['dead_letters']} dead letters")


def test_the_grammar_is_one_of_its_seed_and_has_much_that_can_be_read_and_much_that_cannot():
    grammars = [Grammar(7, lambda: 1_000) for _ in range(2)]
    first, second = ([grammar.message(number) for number in range(3_000)] for grammar in grammars)
    assert first == second
    reasons = set()
    readable = 0
    for value in first:
        try:
            decode(value or b"")
            readable += 1
        except Malformed as fault:
            reasons.add((fault.path, fault.problem))
    assert 0.4 < readable / len(first) < 0.8
    assert len(reasons) > 100
