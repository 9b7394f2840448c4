"""From a flag file to a change of a flag: ``spec`` and ``ramp`` in the words of the signed document, every fault with its path.

A definition in a JSON file is signed byte for byte; YAML is JSON by another hand, so what it would misread is told.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tidegate.cli.yaml_file import faulty, load
from tidegate.runtime.faults import Fault, faults_of
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode, decode_strict
from tidegate.wire.flagchanges import FlagChange, FlagRamp, ramp_faults
from tidegate.wire.flags import EVALUATORS, METADATA, TopicKey, evaluators_faults, metadata_of
from tidegate.wire.flagspecs import FlagSpec, spec_faults

QUOTES = "YAML reads on, off, yes and no as true and false: put a variant's name in quotes"
BELONGS = {**dict.fromkeys(FlagSpec.__struct_encode_fields__, "spec"), **dict.fromkeys(FlagRamp.__struct_encode_fields__, "ramp")}
MISREAD = ("True is not text", "False is not text")


def read_change(path: Path, key: TopicKey) -> FlagChange:
    """Return what a file wants of a flag, its form and its own sense looked at. Problem (code 2) names every fault.

    Of ``$evaluators`` and ``$metadata`` the whole file is the object that is to stand on the topic.
    """
    raw, verbatim = _read(path)
    if not key.is_flag:
        return FlagChange(value=msgspec.Raw(verbatim))
    found = [(at, _plainer(at, problem)) for at, problem in faults_of(_parts(raw, verbatim), FlagChange)]
    if raw.get("spec") is None and not any(at == "spec" for at, _ in found):
        found.append(("spec", "is missing: an object with definition, and guard or immediate"))
    if not found:
        change = msgspec.convert(_parts(raw, verbatim), FlagChange)
        found = change_faults(change, key, None)
        if not found:
            return change
    raise faulty_flag(path, found)


def read_ramp(path: Path) -> FlagRamp:
    """Return the ``ramp`` of a file that has nothing else. Problem (code 2) names every fault."""
    raw, _ = _read(path)
    found = [(key, "only ramp is looked for here") for key in raw if key != "ramp"]
    found += [(f"ramp.{at}".rstrip("."), problem) for at, problem in faults_of(raw.get("ramp"), FlagRamp)]
    if not found:
        ramp = msgspec.convert(raw["ramp"], FlagRamp)
        found = [(f"ramp.{at}", problem) for at, problem in ramp_faults(ramp)]
        if not found:
            return ramp
    raise faulty_flag(path, found)


def change_faults(change: FlagChange, key: TopicKey, rules: dict[str, Any] | None) -> list[Fault]:
    """Return every fault of a change that lies in it alone. ``rules``: the shared rules of its set, if they are known."""
    if change.spec is None:
        return value_faults(change.shared, key)
    found = [(f"spec.{at}", problem) for at, problem in spec_faults(change.spec, key, rules)]
    if change.ramp is not None:
        found += [(f"ramp.{at}", problem) for at, problem in ramp_faults(change.ramp)]
        if change.spec.immediate:
            found.append(("ramp", "an immediate flag has no stages: leave the ramp out, or immediate"))
    return found


def value_faults(value: bytes, key: TopicKey) -> list[Fault]:
    """Return every fault of what is to stand beside the flags of a set."""
    if key.name == EVALUATORS:
        return evaluators_faults(value)
    try:
        metadata_of(value)
    except Malformed as fault:
        return [(fault.path, fault.problem)]
    return []


def faulty_flag(path: Path, found: list[Fault]) -> Problem:
    """Return the problem that a flag file's faults are."""
    return faulty(path, found, "nothing was sent", "mend the file and set it again")


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return what stands in a file, as plain values and as JSON: its own bytes where it is a JSON file."""
    try:
        if path.suffix == ".json":
            data = path.read_bytes()
            return decode_strict(data, dict[str, Any]), data
        raw = load(path, "flag")
        if not isinstance(raw, dict):
            raise faulty_flag(path, [("", "expected spec, and ramp where it comes by stages")])
        found = list(_no_json(raw, ""))
        if found:
            raise faulty_flag(path, found)
        return raw, msgspec.json.encode(raw)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "name a flag file", code=2) from error
    except Malformed as fault:
        raise faulty_flag(path, [(fault.path, fault.problem)]) from fault
    except RecursionError as error:
        raise faulty_flag(path, [("", "is nested too deep, or refers to itself")]) from error


def _parts(raw: dict[str, Any], verbatim: bytes) -> dict[str, Any]:
    """Return the file with its definition as bytes, which is how it is signed."""
    spec = raw.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("definition"), dict):
        return raw
    whole = decode(verbatim, dict[str, msgspec.Raw])
    return raw | {"spec": spec | {"definition": decode(bytes(whole["spec"]), dict[str, msgspec.Raw])["definition"]}}


def _plainer(at: str, problem: str) -> str:
    if at == "spec.definition" and "raw" in problem:
        return "expected an object: a flag as flagd has it, with state and variants"
    if at == "value":
        return f"is of {EVALUATORS} and {METADATA}; of a flag give spec, and ramp"
    if problem in MISREAD:
        return f"{problem}; {QUOTES}"
    if problem.startswith("unknown key") and at in BELONGS:
        return f"belongs under {BELONGS[at]}"
    return problem


def _no_json(value: object, at: str) -> Iterator[Fault]:
    """Yield what YAML says and JSON cannot."""
    if isinstance(value, dict):
        for key, item in value.items():
            inner = f"{at}.{key}".lstrip(".")
            if not isinstance(key, str):
                yield inner, QUOTES if isinstance(key, bool) else "a key is text: put it in quotes"
            yield from _no_json(item, inner)
            if key == "defaultVariant" and isinstance(item, bool):
                yield inner, f"{item} is not text; {QUOTES}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _no_json(item, f"{at}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield at, f"{value} is no number of JSON"
    elif value is not None and not isinstance(value, str | bool | int | float):
        yield at, f"YAML reads {value} as a {type(value).__name__}: put it in quotes"
