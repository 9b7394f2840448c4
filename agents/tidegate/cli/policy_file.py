"""From a policy file to a policy: times as people write them, what the file may leave out, every fault with its path."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tidegate.cli.yaml_file import faulty, load
from tidegate.runtime.faults import Fault, faults_of
from tidegate.runtime.problem import Problem
from tidegate.wire.policies import Policy, policy_faults

TIMES = {"from": "fromMs", "until": "untilMs"}


def read_policy(path: Path, known: dict[str, Any]) -> Policy:
    """Return the policy in a file, completed by what the command line knows. Problem (code 2) names every fault.

    A freeze may say ``from`` and ``until`` as times with their zone, as in 2026-12-24T18:00:00+01:00.
    """
    raw = load(path, "policy")
    if not isinstance(raw, dict):
        raise _problem(path, [("", "expected name and at least one of freezes, rollbackBudget, dwell, secondApprover")])
    raw = known | raw
    found = _times(raw) + faults_of(raw, Policy)
    if not found:
        policy = msgspec.convert(raw, Policy)
        found = policy_faults(policy)
        if policy.empty and not found:
            found = [("", f"says nothing; end a policy with: tidegate policy lift {policy.name}")]
        if not found:
            return policy
    raise _problem(path, found)


def moment_ms(value: object) -> int:
    """Return a time that names its zone in milliseconds since the epoch; ValueError where it is none.

    >>> moment_ms("2026-12-24T18:00:00+01:00")
    1798131600000
    """
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value} names no zone; write it as in 2026-12-24T18:00:00+01:00")
    return round(moment.timestamp() * 1_000)


def _times(raw: dict[str, Any]) -> list[Fault]:
    found: list[Fault] = []
    freezes = raw.get("freezes")
    for index, freeze in enumerate(freezes if isinstance(freezes, list) else []):
        for word in TIMES.keys() & (freeze.keys() if isinstance(freeze, dict) else ()):
            try:
                freeze[TIMES[word]] = moment_ms(freeze.pop(word))
            except ValueError as error:
                found.append((f"freezes[{index}].{word}", str(error)))
    return found


def _problem(path: Path, found: list[Fault]) -> Problem:
    return faulty(path, found, "nothing was sent", "mend the file and set it again")
