"""``tidegate flag``: the group."""

import click

from tidegate.cli.flag_ask import ASKING
from tidegate.cli.flag_eval import eval_
from tidegate.cli.flag_explain import explain
from tidegate.cli.flag_export import export
from tidegate.cli.flag_import import import_
from tidegate.cli.flag_ramp import ramp
from tidegate.cli.flag_set import set_
from tidegate.cli.flag_show import list_, show_


@click.group()
def flag() -> None:
    """Set, kill, ramp, evaluate and explain feature flags.

    \b
    Exit codes: 0 done, 1 refused, failed or an evaluation that ends in an error, 2 usage or a faulty file, 3 switched off or
    rolled back, 4 no answer in time, 5 aborted, 130 interrupted.
    """  # noqa: D301 - click's mark for text that keeps its line breaks


for command in (list_, show_, set_, *ASKING, ramp, eval_, explain, import_, export):
    flag.add_command(command)
