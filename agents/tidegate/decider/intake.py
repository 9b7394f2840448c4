"""From records to events: signatures are checked here, and what does not count becomes an event with a fault, never
silence (D3).
"""

import heapq
from collections.abc import Mapping, Sequence
from typing import TypeVar

from tidegate.ports import Record
from tidegate.rollout.events import (
    AlarmArrived,
    AlarmForgotten,
    Event,
    GroupArrived,
    IntentArrived,
    PlanArrived,
    PolicyArrived,
    ReportArrived,
    VerdictArrived,
)
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.documents import Intent, PublicKey, Report
from tidegate.wire.envelope import Refused, Trust, WrongFleet, unseal
from tidegate.wire.groups import Group, is_group
from tidegate.wire.judgement import Alarm, Verdict
from tidegate.wire.plans import Plan
from tidegate.wire.policies import POLICY_PREFIX, Policy
from tidegate.wire.reasons import Reason

VIEW_TOPICS = ("verdicts", "reports", "alarms")
ASKING_TOPICS = ("plans", "intents")


def in_order(records: Sequence[Record], ranks: Mapping[str, int]) -> list[Record]:
    """Return a batch topic by topic, and what people ask by when it was asked, whichever topic it is of (D3): who stops a release
    and then sends the next plan does not stop that one. Records of one topic keep their order, also where its clock went back.
    """
    asked = [[one for one in records if one.topic == topic] for topic in ASKING_TOPICS]
    others = sorted((one for one in records if one.topic not in ASKING_TOPICS), key=lambda one: ranks[one.topic])
    return [*others, *heapq.merge(*asked, key=lambda one: one.time_ms)]


T = TypeVar("T", Plan, Policy, Group, Intent)


def view_event(record: Record, trust: Trust) -> Event:
    """Return what the world says in a record of the view's topics. Raises Malformed or Refused where it does not count."""
    value = record.value or b""
    match record.topic:
        case "reports":
            return ReportArrived(unseal(value, Report, trust)[0], record.time_ms)
        case "verdicts":
            return VerdictArrived(decode(value, Verdict), record.time_ms)
        case "alarms" if record.value is None:
            return AlarmForgotten(record.key or "")
        case "alarms":
            return AlarmArrived(decode(value, Alarm))
        case _:
            raise Malformed("topic", f"{record.topic} is not part of the view")


def asking_event(record: Record, trust: Trust) -> PlanArrived | PolicyArrived | GroupArrived | IntentArrived:
    """Return what a person asks for in a record of plans or intents. Total: what does not count carries its fault."""
    value, subject = record.value or b"", record.key or ""
    if record.topic == "plans" and subject.startswith(POLICY_PREFIX):
        policy, fault, problem, _ = _unsealed(value, Policy, trust)
        return PolicyArrived(policy, value, fault, problem, record.time_ms, subject)
    if record.topic == "plans" and is_group(subject):
        group, fault, problem, _ = _unsealed(value, Group, trust)
        if group is not None:
            fault, problem = _fault_within(group, trust)
        return GroupArrived(group, value, fault, problem, record.time_ms, subject)
    if record.topic == "plans":
        plan, fault, problem, _ = _unsealed(value, Plan, trust)
        return PlanArrived(plan, value, fault, problem, record.time_ms, subject)
    intent, fault, problem, key = _unsealed(value, Intent, trust)
    return IntentArrived(intent, fault, problem, record.time_ms, value, subject, key)


def _fault_within(group: Group, trust: Trust) -> tuple[Reason | None, str]:
    """Return what is wrong with the first plan of a group that does not count by itself."""
    for number, wave in enumerate(group.waves):
        for index, envelope in enumerate(wave.plans):
            _, fault, problem, _ = _unsealed(envelope.encode(), Plan, trust)
            if fault is not None:
                return fault, f"waves[{number}].plans[{index}]: {problem}"
    return None, ""


def _unsealed(value: bytes, kind: type[T], trust: Trust) -> tuple[T | None, Reason | None, str, PublicKey | None]:
    try:
        document, key = unseal(value, kind, trust)
    except Malformed as error:
        return None, Reason.BAD_DOCUMENT, str(error), None
    except WrongFleet as error:
        return None, Reason.WRONG_FLEET, str(error), None
    except Refused as error:
        return None, Reason.BAD_SIGNATURE, str(error), None
    return document, None, "", key
