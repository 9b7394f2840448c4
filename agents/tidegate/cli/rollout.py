"""``tidegate rollout``: the group."""

import click

from tidegate.cli.rollout_ask import ASKING
from tidegate.cli.rollout_explain import explain
from tidegate.cli.rollout_plan import plan
from tidegate.cli.rollout_start import start
from tidegate.cli.rollout_status import status
from tidegate.cli.rollout_watch import watch


@click.group()
def rollout() -> None:
    """Plan, start, watch, steer and explain rollouts.

    \b
    Exit codes: 0 done or promoted, 1 refused or failed, 2 usage or a faulty plan, 3 rolled back, 4 no answer in time,
    5 aborted, 6 superseded, 130 interrupted.
    """  # noqa: D301 - click's mark for text that keeps its line breaks


for command in (plan, start, status, watch, *ASKING, explain):
    rollout.add_command(command)
