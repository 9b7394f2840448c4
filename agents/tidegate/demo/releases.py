"""The releases of the demo: which versions exist, how they behave, and the plans that an operator would write for them."""

from enum import StrEnum
from pathlib import Path

import yaml
from msgspec import Struct

SERVICE = "shop"


class Fault(StrEnum):
    """What is wrong with a version."""

    NONE = "none"
    ERRORS = "errors"
    SLOW = "slow"


class Release(Struct, frozen=True):
    """One release and how it must end."""

    version: str
    fault: Fault

    @property
    def expected(self) -> str:
        """The outcome that makes the demo succeed."""
        return "promoted" if self.fault is Fault.NONE else "rolled_back"

    @property
    def story(self) -> str:
        """What a person is told beforehand."""
        return {
            Fault.NONE: "a good release: goes 1 -> 3 -> all by itself",
            Fault.ERRORS: "answers 5 % of its requests with 500: must be rolled back by itself",
            Fault.SLOW: "is 60 % slower: must be rolled back by itself",
        }[self.fault]


BEHAVIOUR = {
    Fault.NONE: "",
    Fault.ERRORS: ", error_ratio=0.05",
    Fault.SLOW: ", slowdown=1.6",
}

PROGRAM = '''"""{service} {version}, as its developers built it."""

from tidegate.demo.shop import Behaviour, serve

serve(Behaviour({version!r}{behaviour}))
'''


def write_artifact(folder: Path, release: Release) -> Path:
    """Write the program of a version and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{SERVICE}-{release.version}.py"
    path.write_text(PROGRAM.format(service=SERVICE, version=release.version, behaviour=BEHAVIOUR[release.fault]))
    return path


def write_plan(folder: Path, release: Release, artifact: Path, *, first: bool) -> Path:
    """Write the plan of a release as YAML and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    plan: dict[str, object] = {
        "service": SERVICE,
        "artifact": {"version": release.version, "uri": str(artifact)},
        "reason": release.story,
    }
    if first:
        plan |= {"stages": [{"setWeight": 100, "bake": "1s", "minRequests": 0}], "maxUnavailable": "100%", "watch": "0s"}
    else:
        plan |= {
            "stages": [
                {"setNodes": 1, "bake": "6s", "minRequests": 200},
                {"setNodes": 3, "bake": "6s", "minRequests": 600},
                {"setWeight": 100, "bake": "5s", "minRequests": 1000},
            ],
            "guardrails": [
                {"metric": "errorRatio", "max": 0.02, "of": "2/3", "minRequests": 30},
                {"metric": "p95", "maxRatioToControl": 1.3, "of": "3/5", "minRequests": 30},
            ],
            "maxUnavailable": "50%",
            "watch": "4s",
        }
    path = folder / f"{release.version}.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path
