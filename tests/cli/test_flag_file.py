"""Flag files: every fault is named by its path, and by what to do, before anything is signed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.cli.flag_file import QUOTES, read_change, read_ramp
from tidegate.runtime.problem import Problem
from tidegate.wire.flags import TopicKey

DARK = TopicKey("web", "dark")
DEFINITION = '{state: ENABLED, variants: {"on": true, "off": false}, defaultVariant: "on"}'
RAMP = "ramp: {stages: [{setWeight: 10}, {setWeight: 100}]}"


def spec(rest: str = "guard: [shop]", definition: str = DEFINITION) -> str:
    return f"spec: {{definition: {definition}, {rest}}}\n"


def told(folder: Path, text: str, name: str = "dark.yaml", key: TopicKey = DARK) -> dict[str, str]:
    path = folder / name
    path.write_text(text)
    with pytest.raises(Problem) as caught:
        read_change(path, key)
    assert caught.value.code == 2
    assert caught.value.remedy
    return dict(line.split(": ", 1) for line in caught.value.details)


WRONG: list[tuple[str, dict[str, str]]] = [
    ("- a list", {"(whole file)": "expected spec, and ramp"}),
    (RAMP, {"spec": "is missing"}),
    (
        f"definition: {DEFINITION}\nguard: [shop]\nstages: []\n",
        {"definition": "belongs under spec", "guard": "belongs under spec", "stages": "belongs under ramp", "spec": "is missing"},
    ),
    ("spec: {guard: [shop]}", {"spec.definition": "is missing"}),
    ("spec: {definition: dark, guard: [shop]}", {"spec.definition": "expected an object: a flag as flagd has it"}),
    (spec("gard: [shop]"), {"spec.gard": "did you mean guard?"}),
    (spec("guard: shop"), {"spec.guard": "'shop'"}),
    (spec("guard: [shop], immediate: true"), {"spec.immediate": "give a guard"}),
    (spec("salt: x"), {"spec.immediate": "give a guard"}),
    (spec("immediate: true") + RAMP, {"ramp": "an immediate flag has no stages"}),
    (spec("guard: [shop], safeVariant: dim"), {"spec.safeVariant": "'dim' is none of the variants (off, on)"}),
    (spec("guard: [shop], safeVariant: off"), {"spec.safeVariant": QUOTES}),
    (spec(definition="{state: ENABLED, variants: {on: true}}"), {"spec.definition.variants.True": QUOTES}),
    (
        spec(definition='{state: ENABLED, variants: {"on": true}, defaultVariant: on}'),
        {"spec.definition.defaultVariant": QUOTES},
    ),
    (spec(definition="{state: ENABLED, variants: {a: 2026-01-01}}"), {"spec.definition.variants.a": "put it in quotes"}),
    (spec(definition="{state: ENABLED, variants: {a: .inf}}"), {"spec.definition.variants.a": "no number of JSON"}),
    (spec(definition="{state: enabled, variants: {a: 1}}"), {"spec.definition.state": "enabled"}),
    (spec(definition="{state: ENABLED, variants: {a: 1}, defaultVariant: b}"), {"spec.definition.defaultVariant": "none of"}),
    (spec(definition="{state: ENABLED, variants: {a: 1}}"), {"spec.safeVariant": "is missing: defaultVariant is null"}),
    (
        spec(definition="{state: ENABLED, variants: {a: 1}, defaultVariant: a, targeting: {if: [{fractionel: [[a, 1]]}, a]}}"),
        {"spec.definition.targeting.if[0].fractionel": "is no operator"},
    ),
    (spec() + "ramp: {stages: []}", {"ramp.stages": "length >= 1"}),
    (spec() + "ramp: {stages: [{setWeight: 10}]}", {"ramp.stages[0].setWeight": "the last stage must be setWeight: 100"}),
    (spec() + "ramp: {stages: [{setWeight: 0}]}", {"ramp.stages[0].setWeight": ">= 1"}),
    (spec() + "ramp: {stages: [{setWeight: 100, bake: 5}]}", {"ramp.stages[0].bake": "5"}),
    (spec() + RAMP + "\nvalue: {a: 1}", {"value": "of a flag give spec"}),
    ("spec: &s {definition: *s}", {"(whole file)": "refers to itself"}),
]


@pytest.mark.parametrize(("text", "faults"), WRONG, ids=range(len(WRONG)))
def test_every_fault_is_named_by_its_path_and_what_to_do(tmp_path: Path, text: str, faults: dict[str, str]) -> None:
    found = told(tmp_path, text)
    assert found.keys() == faults.keys()
    for at, words in faults.items():
        assert words in found[at]


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    assert told(tmp_path, spec("gard: [shop]") + "ramp: {stages: [{setWeight: 200}]}\nrmap: {}").keys() == {
        "spec.gard",
        "ramp.stages[0].setWeight",
        "rmap",
    }


@pytest.mark.parametrize("text", ["{", '{"spec": 1, "spec": 2}', '{"spec": NaN}', "[]"])
def test_a_json_file_is_json(tmp_path: Path, text: str) -> None:
    assert told(tmp_path, text, "dark.json")


def test_a_json_definition_is_kept_byte_for_byte(tmp_path: Path) -> None:
    definition = '{ "state":"ENABLED",  "variants": {"b": 1.50, "a": 2e3}, "defaultVariant": "b" }'
    path = tmp_path / "dark.json"
    path.write_text(f'{{"spec": {{"definition": {definition}, "immediate": true}}}}')
    found = read_change(path, DARK).spec
    assert found is not None
    assert bytes(found.definition).decode() == definition


def test_yaml_keeps_the_order_of_variants(tmp_path: Path) -> None:
    path = tmp_path / "dark.yaml"
    path.write_text(spec())
    found = read_change(path, DARK).spec
    assert found is not None
    assert list(json.loads(bytes(found.definition))["variants"]) == ["on", "off"]


def test_a_ramp_file_has_a_ramp_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ramp.yaml"
    path.write_text(RAMP)
    assert [stage.set_weight for stage in read_ramp(path).stages] == [10, 100]
    wrong: list[tuple[Any, str]] = [(RAMP + "\nspec: {}", "spec"), ("other: 1", "other"), ("ramp: {stages: 1}", "ramp.stages")]
    for text, at in wrong:
        path.write_text(text)
        with pytest.raises(Problem) as caught:
            read_ramp(path)
        assert any(line.startswith(f"{at}: ") for line in caught.value.details)
