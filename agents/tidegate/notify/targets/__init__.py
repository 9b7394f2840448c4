"""Where notices go: one file for each kind, found without being told. What may not enter: when and what is told.

A file has ``KIND``, ``Options`` (a struct: what config.yaml says beside the kind) and ``make(options, policy, base)``, which
returns a ``Target``. ``policy`` is the installation's; a kind may change it. Paths are relative to ``base``.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import msgspec

from tidegate.alarms.notices import Notice, Policy
from tidegate.runtime.faults import faults_of
from tidegate.runtime.problem import Problem


class Undelivered(Exception):
    """A target did not take a notice; the text says why, without a secret."""


class Target(Protocol):
    """One receiver."""

    name: str
    policy: Policy

    def send(self, notice: Notice, now_ms: int) -> None:
        """Tell it, in a thread; bounded in time. Undelivered where it does not take it."""
        ...


@cache
def kinds() -> dict[str, ModuleType]:
    """Return the module of each kind."""
    found = (importlib.import_module(module.name) for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    return {module.KIND: module for module in found if hasattr(module, "KIND")}


def build(targets: list[dict[str, Any]], policy: Policy, base: Path) -> list[Target]:
    """Return the targets that the settings name. Problem (code 2) with the path of what is wrong."""
    found = [_build(entry, policy, base, f"notify.targets[{at}]") for at, entry in enumerate(targets)]
    names = [target.name for target in found]
    if len({*names}) < len(names):
        raise Problem(f"notify.targets: two have one name: {', '.join(sorted(names))}", "give each its own name", code=2)
    return found


def _build(entry: Mapping[str, Any], policy: Policy, base: Path, at: str) -> Target:
    options = {name: value for name, value in entry.items() if name != "kind"}
    module = kinds().get(entry.get("kind", ""))
    if module is None:
        raise Problem(f"{at}.kind: expected one of {', '.join(kinds())}", "mend config.yaml", code=2)
    faults = faults_of(options, module.Options)
    if faults:
        told = "; ".join(f"{at}.{where}: {problem}" if where else f"{at}: {problem}" for where, problem in faults)
        raise Problem(told, "mend config.yaml", code=2)
    made: Target = module.make(msgspec.convert(options, module.Options), policy, base)
    return made
