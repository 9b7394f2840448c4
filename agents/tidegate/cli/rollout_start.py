"""``tidegate rollout start``: a plan file becomes a signed plan, a group file a signed group; the answer is printed."""

import getpass
import time
from pathlib import Path

import click
from msgspec import Struct

from tidegate.cli.connect import run
from tidegate.cli.group_file import GroupDraft, is_group_file, read_group, signed
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.plan_file import Draft, Given, read_plan, with_target
from tidegate.cli.session import Exit, Session, session
from tidegate.cli.tell import line
from tidegate.cli.words import reason_option
from tidegate.model import Told
from tidegate.model.summary import next_settled
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import checked
from tidegate.wire.decisions import DecisionKind, GroupState, Result, SubjectState
from tidegate.wire.documents import KeyRole, Phase, digest
from tidegate.wire.envelope import Signs, seal
from tidegate.wire.names import duration_ms, service_subject
from tidegate.wire.reasons import Reason

ANSWER_WITHIN_S = 30.0

OUTCOMES = {
    Result.PROMOTED: Exit.OK,
    Result.ROLLED_BACK: Exit.ROLLED_BACK,
    Result.ABORTED: Exit.ABORTED,
    Result.SUPERSEDED: Exit.SUPERSEDED,
    Result.FAILED: Exit.FAILED,
    Result.NONE: Exit.FAILED,
}


class DurationType(click.ParamType):
    """A number and a unit, in milliseconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return milliseconds."""
        try:
            return value if isinstance(value, int) else duration_ms(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--wait", is_flag=True, help="Wait for the end of the rollout; the exit code tells which.")
@click.option("--timeout", "timeout_ms", type=DurationType(), help="With --wait: give up waiting after this, as in 20m.")
@click.option("--expires", "expires_ms", type=DurationType(), default="24h", show_default=True, help="The plan's lifetime.")
@reason_option("in the plan and in the decisions")
@format_option
@click.pass_obj
def start(home: Home, file: Path, wait: bool, timeout_ms: int | None, expires_ms: int, reason: str | None, form: Format) -> int:
    """Start the rollout that FILE plans, or the group of rollouts whose waves it names.

    The file names service, artifact and stages. A local artifact is measured here (sha256, size); without `rollback` the way
    back is to what is settled now. Every fault is named by its path before anything moves. A group file names plan files in
    `waves`; all of them are signed in one go, and accepted or refused as one.

    \b
    Exit codes: 0 accepted (with --wait: promoted), 1 refused or failed, 2 a faulty plan, 3 rolled back, 4 no answer in time,
    5 aborted, 6 superseded.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    now_ms = time.time_ns() // 1_000_000
    given = Given(fleet=home.settings.fleet, now_ms=now_ms, expires_ms=now_ms + expires_ms, actor=person(), reason=reason)
    waiting = _Waiting(wait, None if timeout_ms is None else timeout_ms / 1000)
    if is_group_file(file):
        group = read_group(file, given)
        return run(_start_group(home, group, given, _Printing(form), waiting))
    draft = read_plan(file, given)
    signer = home.signer(KeyRole.OPERATOR)
    return run(_start(home, draft, signer, _Printing(form), waiting))


def person() -> str:
    """Return who is at the keyboard, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


class _Waiting(Struct, frozen=True):
    """Whether the end of a rollout is waited for, and for how long; None: as long as it takes."""

    wanted: bool
    within_s: float | None


class _Printing:
    """Decisions as lines while they fall, or the last one as JSON or YAML at the end."""

    def __init__(self, form: Format) -> None:
        self._form = form

    def tell(self, told: Told) -> None:
        if self._form == "table":
            click.echo(line(told))

    def end(self, told: Told) -> None:
        if self._form != "table":
            dump(told.decision, self._form)


async def _start(home: Home, draft: Draft, signer: Signs, printing: _Printing, waiting: _Waiting) -> int:
    subject = service_subject(draft.plan.service)
    async with session(home, topics=("decisions",)) as here:
        plan = with_target(draft, next_settled(here.model.ledger, subject))
        envelope = seal(checked(plan), signer)
        asked = digest(envelope)
        answer = await here.ask("plans", subject, envelope, asked, within_s=ANSWER_WITHIN_S)
        printing.tell(answer)
        if answer.decision.kind is DecisionKind.REFUSE or not waiting.wanted:
            printing.end(answer)
            return Exit.FAILED if answer.decision.kind is DecisionKind.REFUSE else Exit.OK
        return await _wait(here, subject, asked, answer, printing, waiting.within_s)


async def _start_group(home: Home, draft: GroupDraft, given: Given, printing: _Printing, waiting: _Waiting) -> int:
    signer = home.signer(KeyRole.OPERATOR)
    async with session(home, topics=("decisions",)) as here:
        group = signed(draft, given, here.model.ledger, signer)
        envelope = seal(checked(group), signer)
        answer = await here.ask("plans", group.key, envelope, digest(envelope), within_s=ANSWER_WITHIN_S)
        printing.tell(answer)
        if answer.decision.kind is DecisionKind.REFUSE or not waiting.wanted:
            printing.end(answer)
            return Exit.FAILED if answer.decision.kind is DecisionKind.REFUSE else Exit.OK
        return await _wait_for_group(here, draft, answer, printing, waiting.within_s)


async def _wait_for_group(here: Session, draft: GroupDraft, answer: Told, printing: _Printing, wait_s: float | None) -> int:
    """Follow a group and its members to its end."""
    subject, last = answer.decision.subject, answer
    about = {subject, *draft.subjects}
    earlier = [told for told in here.model.told if told.decision.seq > answer.decision.seq]

    def done(news: list[Told]) -> bool:
        nonlocal last
        for told in (*earlier, *news):
            if told.decision.subject in about and group_ended(last.decision.group) is None:
                last = told if told.decision.group is not None else last
                printing.tell(told)
        earlier.clear()
        return group_ended(last.decision.group) is not None

    if not await here.follow(done, wait_s):
        raise Problem(
            f"the group has not ended within {wait_s:g} s; it goes on",
            f"see: tidegate rollout status {subject}",
            code=Exit.TIMEOUT,
        )
    printing.end(last)
    return group_ended(last.decision.group) or Exit.OK


def group_ended(group: GroupState | None) -> Exit | None:
    """Return the exit code of a group, None while it is under way."""
    return OUTCOMES[group.result] if group is not None and group.phase is Phase.DONE else None


async def _wait(here: Session, subject: str, asked: str, answer: Told, printing: _Printing, wait_s: float | None) -> int:
    """Follow the plan's rollout to its end; it may have to wait in the queue first."""
    last = answer

    def outcome() -> Exit | None:
        return ended(last.decision.state, asked, last.decision.reason)

    earlier = [told for told in here.model.decisions(subject) if told.decision.seq > answer.decision.seq]

    def done(news: list[Told]) -> bool:
        nonlocal last
        for told in (*earlier, *news):
            if told.decision.subject == subject and outcome() is None:
                last = told
                printing.tell(told)
        earlier.clear()
        return outcome() is not None

    if not await here.follow(done, wait_s):
        raise Problem(
            f"the rollout has not ended within {wait_s:g} s; it goes on", "see: tidegate rollout status", code=Exit.TIMEOUT
        )
    printing.end(last)
    return outcome() or Exit.OK


def ended(state: SubjectState | None, plan_digest: str, why: Reason | None = None) -> Exit | None:
    """Return the exit code of a plan's rollout, None while it waits or runs. ``why``: the reason of the record that says so.

    A queued plan that is neither queued nor current any more was dropped, by a person who aborts or by what came before it:
    that is an end too.
    """
    if state is None or plan_digest in state.queue:
        return None
    if state.plan_digest != plan_digest:
        return Exit.ABORTED if why is Reason.ASKED else Exit.SUPERSEDED
    return OUTCOMES[state.result] if state.phase is Phase.DONE else None
