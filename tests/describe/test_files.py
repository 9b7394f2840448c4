"""JSON Schemas of what people write: fresh, true to what is really read, and true of every example in the documentation."""

import copy
import json
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator
from tests.describe.published import published

from tidegate.cli.flag_file import read_change
from tidegate.cli.group import run
from tidegate.cli.group_file import read_group
from tidegate.cli.plan_file import HARMLESS, Given, read_plan
from tidegate.cli.policy_file import read_policy
from tidegate.describe.files import FILES, FlagFile, file_schema
from tidegate.node.config import load_config
from tidegate.runtime.problem import Problem
from tidegate.runtime.settings import load_settings
from tidegate.wire.flagchanges import FlagChange
from tidegate.wire.flags import topic_key
from tidegate.wire.plans import Guardrail, Pause, Plan, Rollback, Stage

ROOT = Path(__file__).parents[2]
BLOCKS = [
    (path.name, number, block)
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL))
]
OF_OTHERS = {"release", "exporters", "alert"}
"""A key that only files of others begin with: of a CI system, of OpenTelemetry's collector, of Prometheus."""


def violations(name: str, value: Any, *, part: bool = False) -> list[str]:
    """What a schema has against a value. ``part``: keys may be missing at the top, as in an excerpt."""
    return [f"{error.json_path}: {error.message}" for error in validator(name, part=part).iter_errors(plain(value))]


@cache
def validator(name: str, *, part: bool) -> Draft202012Validator:
    schema = file_schema(name)
    if part:
        schema["$defs"][schema["$ref"].rpartition("/")[2]]["required"] = []
    return Draft202012Validator(schema)


def plain(value: Any) -> Any:
    """YAML as JSON would say it: times are text; of an excerpt what ``...`` stands for is left out."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key != "..."}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def test_what_is_published_is_what_the_code_says():
    stale = [path.name for path, text in published() if path.read_text() != text]
    assert stale == [], "write it anew: PYTHONPATH=. .venv/bin/python -m tests.describe.published"


@pytest.mark.parametrize("name", FILES)
def test_every_schema_is_one(name):
    Draft202012Validator.check_schema(file_schema(name))


def test_the_file_of_a_flag_has_the_words_of_a_change():
    words = {field.encode_name for field in msgspec.structs.fields(FlagChange)}
    assert {field.encode_name for field in msgspec.structs.fields(FlagFile)} == words - {"value"}


@pytest.mark.parametrize(("page", "number", "block"), BLOCKS, ids=[f"{page}-{number}" for page, number, _ in BLOCKS])
def test_every_example_of_the_documentation_is_sound(page, number, block):
    """A whole file, an excerpt of one, or a service of a node's file."""
    value = yaml.safe_load(block)
    if value is None or OF_OTHERS & set(value[0] if isinstance(value, list) else value):
        return
    told = {name: violations(name, value, part=True) for name in FILES}
    told["services"] = violations("node", {"services": value}, part=True)
    assert not all(told.values()), told


def test_the_page_of_plans_names_every_word_of_one_and_its_true_default():
    page = (ROOT / "docs" / "plans.md").read_text()
    whole, stages, guardrails = (yaml.safe_load(block) for name, number, block in BLOCKS if name == "plans.md" and number)
    assert msgspec.convert(HARMLESS | whole, Plan) == msgspec.convert(HARMLESS, Plan)
    assert msgspec.convert(stages["stages"], tuple[Stage, ...]) == (Stage(set_nodes=1),)
    assert msgspec.convert(guardrails["guardrails"], tuple[Guardrail, ...]) == (Guardrail(metric="errorRatio", max=0.02),)
    words = {field.encode_name for kind in (Plan, Stage, Guardrail, Pause, Rollback) for field in msgspec.structs.fields(kind)}
    assert {word for word in words if not re.search(rf"\b{word}\b", page)} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "deploy" / "compose").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_the_compose_fleet_is_sound_and_names_its_schema(path):
    name = "node" if path.stem.startswith("n") else "plan"
    assert violations(name, yaml.safe_load(path.read_text())) == []
    schema = re.search(r"^# yaml-language-server: \$schema=(\S+)$", path.read_text(), re.MULTILINE)
    assert (path.parent / schema[1]).resolve() == ROOT / "docs" / "schemas" / f"{name}.json"


def test_the_settings_of_the_cluster_are_sound():
    manifest = yaml.safe_load((ROOT / "deploy" / "k8s" / "config.yaml").read_text())
    assert violations("config", yaml.safe_load(manifest["data"]["config.yaml"])) == []


def test_what_init_writes_is_sound(tmp_path):
    assert run(["--home", str(tmp_path), "init", "--fleet", "local", "--node", "n1=a"]) == 0
    assert violations("config", yaml.safe_load((tmp_path / "config.yaml").read_text())) == []
    assert violations("node", yaml.safe_load((tmp_path / "nodes" / "n1.yaml").read_text())) == []


def read(name: str, path: Path) -> None:
    """Read a file as the command line does."""
    match name:
        case "config":
            load_settings(path, {})
        case "node":
            load_config(path)
        case "plan":
            read_plan(path, Given(fleet="local", now_ms=0, expires_ms=1, actor="kim"))
        case "group":
            (path.parent / "shop.yaml").write_text(yaml.safe_dump(SOUND["plan"]))
            read_group(path, Given(fleet="local", now_ms=0, expires_ms=1, actor="kim"))
        case "policy":
            read_policy(path, {"fleet": "local", "issuedMs": 1})
        case _:
            read_change(path, topic_key("web/dark"))


SOUND: dict[str, Any] = {
    "config": {
        "fleet": "local",
        "kafka": {"bootstrap": None, "sasl": {"user": "{role}", "password": "env:PASSWORD"}, "tls": {}},
        "notify": {"targets": [{"kind": "alertmanager", "url": "http://127.0.0.1:9093"}]},
        "api": {"port": 0},
    },
    "node": {
        "fleet": "local",
        "node": "n1",
        "kafka": {"bootstrap": "127.0.0.1:9092"},
        "keys": {"root": "root.json", "private": "n1.key"},
        "state": "state",
        "services": {
            "shop": {
                "command": ["{python}", "{artifact}"],
                "readiness": {"tcp": "127.0.0.1:1"},
                "scrape": {"url": "http://127.0.0.1:9/metrics"},
            }
        },
    },
    "plan": {
        "service": "shop",
        "artifact": {"version": "v2", "path": "shop.py"},
        "rollback": {"maxUnavailable": 2},
        "maxUnavailable": "25%",
        "stages": [{"setNodes": 1, "maxUnavailable": 1}, {"setWeight": 100}],
        "guardrails": [{"metric": "errorRatio", "max": 0.02}],
    },
    "group": {"name": "checkout", "waves": [{"plans": ["shop.yaml"], "bake": "10m"}], "reason": "because"},
    "policy": {
        "name": "xmas",
        "freezes": [{"from": "2026-12-24T18:00:00+01:00", "until": "2027-01-02T08:00:00+01:00"}],
        "rollbackBudget": {"rollbacks": 3},
    },
    "flag": {
        "spec": {
            "definition": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
            "safeVariant": "off",
            "guard": ["shop"],
        },
        "ramp": {"stages": [{"setWeight": 100}]},
    },
}

BROKEN: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("config", ("fleet",), "two words"),
    ("config", ("kafak",), {}),
    ("config", ("kafka", "sasl", "pasword"), "x"),
    ("config", ("api", "port"), 70_000),
    ("config", ("log",), {"level": "loud"}),
    ("node", ("services", "shop", "drain"), "soon"),
    ("node", ("services", "shop", "readiness"), "maybe"),
    ("node", ("cache_bytes_max",), -1),
    ("plan", ("stages", 1, "setWeight"), 101),
    ("plan", ("stages",), []),
    ("plan", ("guardrails", 0, "metrc"), "x"),
    ("plan", ("guardrails", 0, "metric"), "errors"),
    ("plan", ("rollback", "maxUnavailable"), "many"),
    ("plan", ("onFail",), "ignore"),
    ("plan", ("stages", 0, "setWave"), 0),
    ("plan", ("waves",), [[]]),
    ("group", ("waves",), []),
    ("group", ("waves", 0, "plans"), []),
    ("group", ("waves", 0, "bake"), "soon"),
    ("group", ("name",), "two words"),
    ("policy", ("rollbackBudget", "rollbacks"), 0),
    ("policy", ("freezes", 0, "fom"), 1),
    ("policy", ("dwell",), 3),
    ("flag", ("spec", "guards"), ["shop"]),
    ("flag", ("ramp", "stages", 0, "setWeight"), 0),
    ("flag", ("spec", "definition", "variants"), {}),
]


@pytest.mark.parametrize("name", SOUND)
def test_what_the_command_line_takes_the_schema_takes(name, tmp_path):
    (tmp_path / "shop.py").write_text("")
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(SOUND[name]))
    read(name, tmp_path / "file.yaml")
    assert violations(name, SOUND[name]) == []


@pytest.mark.parametrize(("name", "at", "value"), BROKEN, ids=[f"{name} {'.'.join(map(str, at))}" for name, at, _ in BROKEN])
def test_what_the_schema_refuses_the_command_line_refuses(name, at, value, tmp_path):
    broken = copy.deepcopy(SOUND[name])
    place = broken
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    assert violations(name, broken)
    (tmp_path / "shop.py").write_text("")
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(broken))
    with pytest.raises(Problem):
        read(name, tmp_path / "file.yaml")


def test_the_command_prints_what_is_published(capsys):
    assert run(["schema", "plan"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((ROOT / "docs" / "schemas" / "plan.json").read_text())
