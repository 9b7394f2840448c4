"""How a flag stands and what users get of it, in words."""

import pytest
from msgspec.structs import replace
from tests.rollout.flags import definition, ramp, spec

from tidegate.cli.flag_tell import gets, lines, standing
from tidegate.model import Model, flag_summary
from tidegate.wire.documents import Phase
from tidegate.wire.envelope import Trust
from tidegate.wire.flagspecs import FlagSpec, Layer, Prerequisite
from tidegate.wire.flagstates import FlagState, Off
from tidegate.wire.reasons import Reason

NOW_MS = 1_700_000_000_000
ON = FlagState(
    subject="flag/web/dark", spec=spec(), weight=10_000, held=10_000, phase=Phase.DONE, proposer="kim", why="night", generation=3
)
RAMPING = replace(
    ON, weight=2_500, held=5_000, phase=Phase.RUNNING, ramp=ramp(), stage=1, placement="p", baking_since_ms=NOW_MS - 4_000
)
OLD: FlagSpec = spec("off")
LAYERED: FlagSpec = spec(layer=Layer(name="price", first=0, count=5_000))
NEEDING: FlagSpec = spec(prerequisites=(Prerequisite(flag="other", variants=("on",)),))
CALLERS = FlagSpec(definition=definition(state="DISABLED"), immediate=True)

STATES: list[tuple[FlagState, str, str]] = [
    (ON, "on", "everyone gets on"),
    (replace(ON, spec=OLD), "safe variant for all", "everyone gets off"),
    (replace(ON, weight=3_000), "on at 30 %", "30 % get on, everyone else off"),
    (replace(ON, weight=0), "safe variant for all", "everyone gets off"),
    (replace(ON, spec=CALLERS), "disabled", "everyone gets the caller's own default"),
    (replace(ON, spec=spec(targeting={"var": "x"})), "on", "everyone gets what its targeting says"),
    (replace(ON, spec=LAYERED), "on", "100 % of its slots of layer price get on, everyone else off"),
    (replace(ON, spec=NEEDING), "on", "everyone gets on (where a prerequisite is not met: off)"),
    (replace(ON, phase=Phase.IDLE, weight=0), "waits to begin", "everyone gets off"),
    (RAMPING, "ramping 25 %, stage 2/3", "25 % get on, everyone else off"),
    (replace(RAMPING, before=OLD, before_weight=10_000), "ramping 25 %, stage 2/3", "25 % get on, everyone else off"),
    (
        replace(RAMPING, before=OLD, before_weight=5_000),
        "ramping 25 %, stage 2/3",
        "25 % get on, everyone else what was there before",
    ),
    (
        replace(RAMPING, phase=Phase.PAUSED, paused_reason=Reason.ALARM_OPEN),
        "paused 25 %, stage 2/3 (alarm open)",
        "25 % get on, everyone else off",
    ),
    (replace(RAMPING, killed=True), "killed", "everyone gets off"),
    (replace(ON, spec=spec(kill_variant="on"), killed=True), "killed", "everyone gets on"),
    (replace(ON, off=Off.SWITCHED_OFF), "switched off", "everyone gets off"),
    (replace(ON, off=Off.CODE_RETREATED), "off, its code went back", "everyone gets off"),
    (replace(ON, archived=True, killed=True), "archived", "everyone gets off, for good"),
]


@pytest.mark.parametrize(("state", "stands", "given"), STATES, ids=range(len(STATES)))
def test_a_flag_is_told_by_what_beats_all_else(state: FlagState, stands: str, given: str) -> None:
    assert (standing(flag_summary(nothing(), state, NOW_MS)), gets(state)) == (stands, given)


def test_a_running_ramp_tells_what_is_left_of_its_bake_and_what_it_waits_for() -> None:
    assert told(RAMPING)[1:] == [
        "  25 % get on, everyone else off",
        "  since 00:00:00 by kim: night",
        "  stage 2 of 3: 25 %, bakes for 6.0 s more",
        "  waits: The stage bakes for 6 s more.",
        "  waits: shop: There is no verdict on this stage yet.",
    ]


def test_a_ramp_behind_a_kill_waits_for_nothing_but_a_restore() -> None:
    assert told(replace(RAMPING, killed=True, phase=Phase.PAUSED, paused_reason=Reason.ASKED)) == [
        "web/dark: killed   generation 3",
        "  everyone gets off",
        "  since 00:00:00 by kim: night",
        "  its ramp stands at 25 %, stage 2 of 3",
        "  what was there comes back with: tidegate flag restore web/dark",
    ]


def told(state: FlagState) -> list[str]:
    """Its lines, with the time of day put to midnight wherever the test runs."""
    model = nothing()
    model.ledger = replace(model.ledger, flags={state.subject: state})
    found = lines(flag_summary(model, state, NOW_MS), state, NOW_MS)
    return [f"  since 00:00:00 {line.split(maxsplit=2)[2]}" if line.startswith("  since") else line for line in found]


def nothing() -> Model:
    return Model(Trust(fleet="f", keys={}, root_version=1))
