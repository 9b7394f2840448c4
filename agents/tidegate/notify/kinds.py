"""Kinds of what config.yaml names, one file each in a folder, found without being told.

A file has ``KIND``, ``Options`` (a struct: what config.yaml says beside the kind) and ``make(options, ...)``.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import msgspec

from tidegate.runtime.faults import faults_of
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import told_faults


@cache
def kinds(package: str) -> dict[str, ModuleType]:
    """Return the module of each kind in a package."""
    path = importlib.import_module(package).__path__
    found = (importlib.import_module(module.name) for module in pkgutil.iter_modules(path, f"{package}."))
    return {module.KIND: module for module in found if hasattr(module, "KIND")}


def made(entries: Sequence[Mapping[str, Any]], package: str, setting: str, *made_with: object) -> list[Any]:
    """Return what a list in the settings names, each made with ``made_with``. Problem (code 2) with the path of what is wrong."""
    found = [_made(entry, package, f"{setting}[{at}]", made_with) for at, entry in enumerate(entries)]
    names = [one.name for one in found]
    if len({*names}) < len(names):
        raise Problem(f"{setting}: two have one name: {', '.join(sorted(names))}", "give each its own name", code=2)
    return found


def _made(entry: Mapping[str, Any], package: str, at: str, made_with: tuple[object, ...]) -> Any:
    options = {name: value for name, value in entry.items() if name != "kind"}
    module = kinds(package).get(entry.get("kind", ""))
    if module is None:
        raise Problem(f"{at}.kind: expected one of {', '.join(kinds(package))}", "mend config.yaml", code=2)
    faults = faults_of(options, module.Options)
    if faults:
        told = told_faults((f"{at}.{where}".rstrip("."), problem) for where, problem in faults)
        raise Problem(told, "mend config.yaml", code=2)
    return module.make(msgspec.convert(options, module.Options), *made_with)
