"""The rules, found in their folder: a new one is a new file with ``RULES`` in it, and nothing else."""

import importlib
import pkgutil
from functools import cache

from tidegate.alarms import rules as folder
from tidegate.alarms.conditions import Condition, Rule, Seen


@cache
def rules() -> dict[str, Rule]:
    """Return every rule by the name of its alarm, in the order of the names. ValueError where two have one name."""
    found: dict[str, Rule] = {}
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        for rule in importlib.import_module(module.name).RULES:
            if rule.kind.name in found:
                raise ValueError(f"{module.name}: there is an alarm {rule.kind.name} already")
            found[rule.kind.name] = rule
    return dict(sorted(found.items()))


def conditions_of(seen: Seen) -> tuple[Condition, ...]:
    """Return what is true of a service in one pane."""
    return tuple(condition for rule in rules().values() for condition in rule.find(seen))
