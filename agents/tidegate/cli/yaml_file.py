"""A YAML file that a person wrote: read, or refused with its path and what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegate.runtime.faults import Fault
from tidegate.runtime.problem import Problem
from tidegate.runtime.yaml_text import NotYaml, read_yaml


def load(path: Path, what: str) -> Any:
    """Return what stands in a ``what`` file, of whatever type. Problem (code 2) where it cannot be read or is no YAML."""
    try:
        return read_yaml(path)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", f"name a {what} file", code=2) from error
    except NotYaml as error:
        raise Problem(f"{path}: not YAML: {error}", "mend the file", code=2) from error


def faulty(path: Path, found: Sequence[Fault], outcome: str, remedy: str) -> Problem:
    """Return the problem that the faults of a file are. ``outcome``: what was not done for them."""
    number = f"{len(found)} fault{'s' if len(found) > 1 else ''}"
    return Problem(
        f"{path} has {number}; {outcome}",
        remedy,
        code=2,
        details=tuple(f"{at or '(whole file)'}: {what}" for at, what in found),
    )
