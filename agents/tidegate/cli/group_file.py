"""From a group file, which names plan files in waves, to one signed group with all of its signed plans in it."""

from pathlib import Path

import msgspec
from msgspec import Struct

from tidegate.cli.plan_file import Draft, Given, read_plan, with_target
from tidegate.cli.yaml_file import faulty, load
from tidegate.model.summary import next_settled
from tidegate.rollout.ledger import Ledger
from tidegate.runtime.faults import Fault, faults_of
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import checked
from tidegate.wire.envelope import Signs, seal
from tidegate.wire.groups import Group, GroupFile, Wave
from tidegate.wire.names import service_subject


class GroupDraft(Struct, frozen=True, kw_only=True):
    """A group whose plans are whole but for their rollback targets."""

    file: GroupFile
    drafts: tuple[tuple[Draft, ...], ...]
    """By wave."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects of its members, in order."""
        return tuple(service_subject(draft.plan.service) for wave in self.drafts for draft in wave)


def is_group_file(path: Path) -> bool:
    """Return whether a file has waves of plans, not of one service's zones. Problem where it cannot be read."""
    raw = load(path, "plan or group")
    return isinstance(raw, dict) and "waves" in raw and "service" not in raw


def read_group(path: Path, given: Given) -> GroupDraft:
    """Return the group in a file, its plans read like any plan file. Problem (code 2) names every fault of all of them."""
    raw = load(path, "group")
    found = faults_of(raw, GroupFile)
    if found:
        raise _problem(path, found)
    file = msgspec.convert(raw, GroupFile)
    first: dict[str, str] = {}
    waves: list[tuple[Draft, ...]] = []
    for number, wave in enumerate(file.waves):
        drafts = []
        for index, name in enumerate(wave.plans):
            at = f"waves[{number}].plans[{index}]"
            try:
                draft = read_plan(path.parent / name, given)
            except Problem as problem:
                found += [(at, f"{name}: {detail}") for detail in problem.details or (problem.what,)]
                continue
            service = draft.plan.service
            if first.setdefault(service, at) != at:
                found.append((at, f"{name}: {service} is in {first[service]} already; a group has it once"))
            drafts.append(draft)
        waves.append(tuple(drafts))
    if found:
        raise _problem(path, found)
    return GroupDraft(file=file, drafts=tuple(waves))


def signed(draft: GroupDraft, given: Given, ledger: Ledger, signer: Signs) -> Group:
    """Return the group with its plans signed; each goes back to what is settled of its service, where its file names no other."""
    waves = zip(draft.file.waves, draft.drafts, strict=True)
    return Group(
        name=draft.file.name,
        fleet=given.fleet,
        waves=tuple(Wave(plans=tuple(_sealed(one, ledger, signer) for one in plans), bake=wave.bake) for wave, plans in waves),
        issued_ms=given.now_ms,
        actor=given.actor,
        reason=given.reason or draft.file.reason,
    )


def _sealed(draft: Draft, ledger: Ledger, signer: Signs) -> str:
    return seal(checked(with_target(draft, next_settled(ledger, service_subject(draft.plan.service)))), signer).decode()


def _problem(path: Path, found: list[Fault]) -> Problem:
    return faulty(path, found, "nothing was started", "mend the files and start again")
