"""The demo's flag: the file that an operator would write for it, and what clients see of its new variant."""

from pathlib import Path
from typing import Any

import yaml

from tidegate.demo.load import Answer
from tidegate.demo.releases import SERVICE
from tidegate.demo.shop import CHECKOUT, CLASSIC, EXPRESS, FLAG_SET

FLAG = f"{FLAG_SET}/{CHECKOUT}"
STORY = "10 % get a new checkout, which fails for 5 %: its guard must switch it off by itself"
GUARDRAIL = {"metric": "errorRatio", "max": 0.02, "of": "2/3", "minRequests": 20}
STAGES = ({"setWeight": 10, "bake": "15s", "minExposures": 500}, {"setWeight": 100, "bake": "10s", "minExposures": 1000})


def write_flag(folder: Path, name: str, stages: tuple[dict[str, Any], ...] = STAGES, checkout: str = EXPRESS) -> Path:
    """Write the file of a flag that brings a checkout to everyone by stages, and return its path.

    ``name``: who is first hangs on it, so that flags of other names are other flags, which no quarantine holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    definition = {"state": "ENABLED", "variants": {one: one for one in (CLASSIC, checkout)}, "defaultVariant": checkout}
    wanted = {
        "spec": {"definition": definition, "safeVariant": CLASSIC, "salt": name, "guard": [SERVICE]},
        "ramp": {"stages": list(stages), "guardrails": [GUARDRAIL]},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(wanted, sort_keys=False))
    return path


class Sightings:
    """What clients saw since it was begun: who was given the new checkout, and when each server had it no more.

    A server has it no more at its first other answer to a user who had been given it: that is never before its provider serves
    the safe variant, and about as much later as such users take to come back.
    """

    def __init__(self, servers: int, checkout: str = EXPRESS) -> None:
        self._servers = servers
        self._checkout = checkout
        self._users: set[int] = set()
        self._safe_s: dict[int, float] = {}
        self.answers = 0
        """Of both checkouts, while a server had the new one."""
        self.shown = 0
        self.first_bad_s: float | None = None
        """Seconds since the epoch of the first error that came of it."""

    def heard(self, answer: Answer) -> None:
        """Take one response."""
        if answer.checkout == self._checkout:
            self.shown += 1
            self._users.add(answer.user)
            self._safe_s.pop(answer.server, None)
            if answer.status >= 500 and self.first_bad_s is None:
                self.first_bad_s = answer.at_s
        elif answer.user in self._users:
            self._safe_s.setdefault(answer.server, answer.at_s)
        if self.shown and len(self._safe_s) < self._servers:
            self.answers += 1

    @property
    def off_s(self) -> float | None:
        """When the last server had it no more, in seconds since the epoch; None while one has it."""
        return max(self._safe_s.values()) if len(self._safe_s) == self._servers else None
