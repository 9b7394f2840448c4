"""What a person may ask of a flag: a definition that is wanted, and the ramp by which it comes.

The file, the signed document and the code use these same words. Unknown keys are refused.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tidegate.wire.flagrules import Fault
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.names import Duration
from tidegate.wire.plans import STAGES_MAX, Action, Gate, Guardrail, Pause, guardrail_faults


class RampStage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One step of a ramp: ``setWeight`` percent of the users (of the slots of a layer) have the new definition."""

    set_weight: Annotated[int, Meta(ge=1, le=100)]
    bake: Duration = "60s"
    min_exposures: Annotated[int, Meta(ge=0)] = 100
    """Requests that saw the new variants, in each guarded service, before the stage is passed."""
    gate: Gate = Gate.NO_EVIDENCE
    pause: Pause | None = None


class FlagRamp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """How a definition comes to everyone (G2): stages as in a plan, judged by the same rules on the telemetry of the guard."""

    stages: Annotated[tuple[RampStage, ...], Meta(min_length=1, max_length=STAGES_MAX)]
    guardrails: tuple[Guardrail, ...] = ()
    """Beside these the default ones hold (C1) unless ``defaultGuardrails`` is false."""
    default_guardrails: bool = True
    on_fail: Action = Action.ROLLBACK
    """``rollback`` switches the flag off."""


class FlagChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What ``set`` asks for. Of a flag: ``spec`` and, unless it comes at once, ``ramp``; of a set's ``$evaluators`` or
    ``$metadata``: ``value``.
    """

    spec: FlagSpec | None = None
    ramp: FlagRamp | None = None
    value: msgspec.Raw | UnsetType = UNSET
    """The JSON object that is to stand on the topic, verbatim."""

    @property
    def shared(self) -> bytes:
        """What is to stand beside the flags of a set; nothing where a flag is set."""
        return b"" if isinstance(self.value, UnsetType) else bytes(self.value)


def ramp_faults(ramp: FlagRamp) -> list[Fault]:
    """Return every fault that types cannot see, as (path, problem); empty where the ramp is sound."""
    found: list[Fault] = []
    for index, stage in enumerate(ramp.stages):
        at, before = f"stages[{index}]", ramp.stages[index - 1] if index else None
        if before is not None and stage.set_weight <= before.set_weight:
            found.append((f"{at}.setWeight", f"must exceed the stage before it ({before.set_weight}); a share only grows"))
        if stage.pause is not None and stage.pause.ask is not None and stage.pause.duration is None:
            found.append((f"{at}.pause.duration", f"is missing: {stage.pause.ask} may never answer, and then default holds"))
    if ramp.stages[-1].set_weight != 100:
        at = f"stages[{len(ramp.stages) - 1}].setWeight"
        found.append((at, "the last stage must be setWeight: 100; to stay at less for a while, give that stage a pause"))
    return found + guardrail_faults(ramp.guardrails)
