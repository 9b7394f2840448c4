"""1,000,000 generated users: shares within what chance allows, nobody leaves a share that grows, flags are independent of one
another, layers exclusive; in both generations of bucketing.
"""

from pathlib import Path
from typing import Any

from tests.flags.shares import SIGMAS, measured
from tests.prove.kit import hold

from tidegate.wire.flags import Bucketing

USERS = 1_000_000


def prove(_folder: Path) -> dict[str, Any]:
    found = {bucketing.value: measured(USERS, bucketing) for bucketing in Bucketing}
    for bucketing, one in found.items():
        hold(
            one["sigmas_most"] < SIGMAS, f"{bucketing}: a share is {one['sigmas_most']} standard deviations off: {one['counts']}"
        )
        hold(one["moved_out_by_growth"] == 0, f"{bucketing}: {one['moved_out_by_growth']} users left a share that grew")
        hold(
            one["in_two_flags_of_a_layer"] == 0,
            f"{bucketing}: {one['in_two_flags_of_a_layer']} users are in two flags of a layer",
        )
    return found
