"""Plan files: every fault is named by its path before anything moves."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.cli.plan_file import Given, read_plan, with_target
from tidegate.runtime.problem import Problem
from tidegate.runtime.yaml_text import read_yaml
from tidegate.wire.plans import Artifact, Plan

GIVEN = Given(fleet="local", now_ms=1_000, expires_ms=2_000, actor="ada")
SHA = "a" * 64


def good() -> dict[str, Any]:
    return {
        "service": "shop",
        "artifact": {"version": "v2", "sha256": SHA, "uri": "https://builds.example/shop-v2.tar"},
        "stages": [{"setNodes": 1, "bake": "60s"}, {"setWeight": 100}],
        "guardrails": [{"metric": "errorRatio", "max": 0.02, "of": "2/3"}],
    }


def read(folder: Path, plan: object) -> Plan:
    path = folder / "plan.yaml"
    path.write_text(plan if isinstance(plan, str) else yaml.safe_dump(plan))
    return read_plan(path, GIVEN).plan


def faults(folder: Path, plan: object) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        read(folder, plan)
    assert caught.value.code == 2
    return dict(line.split(": ", 1) for line in caught.value.details)


def changed(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in (good() | fields).items() if value is not None}


BAD = [
    (changed(service=None), {"service": "is missing"}),
    (changed(stages=None), {"stages": "is missing"}),
    (changed(artifact=None), {"artifact": "is missing"}),
    (changed(gardrails=[]), {"gardrails": "unknown key; did you mean guardrails?"}),
    (changed(stages=[]), {"stages": "length >= 1"}),
    (changed(stages=[{"setNodes": "one"}, {"setWeight": 100}]), {"stages[0].setNodes": "not a whole number"}),
    (
        changed(stages=[{"setNodes": 1, "bake": "60"}, {"setWeight": 100}]),
        {"stages[0].bake": "'60' is not a number and ms, s, m, h or d"},
    ),
    (changed(stages=[{"setNodes": 0}, {"setWeight": 101}]), {"stages[0].setNodes": ">= 1", "stages[1].setWeight": "<= 100"}),
    (changed(stages=[{"setNodes": 1, "backe": "1s"}, {"setWeight": 100}]), {"stages[0].backe": "did you mean bake?"}),
    (changed(stages=[{"setNodes": 1, "setWeight": 5}, {"setWeight": 100}]), {"stages[0]": "exactly one of"}),
    (changed(stages=[{"setNodes": 3}, {"setNodes": 2}, {"setWeight": 100}]), {"stages[1].setNodes": "must exceed"}),
    (changed(stages=[{"setNodes": 3}]), {"stages[0].setWeight": "setWeight: 100"}),
    (changed(stages=["all"]), {"stages[0]": "expected an object"}),
    (changed(stages={"setWeight": 100}), {"stages": "expected a list, got an object"}),
    (changed(guardrails=[{"metric": "p42", "max": 1}]), {"guardrails[0].metric": "is not errorRatio, p50"}),
    (changed(guardrails=[{"metric": "p95"}]), {"guardrails[0]": "exactly one of max"}),
    (changed(guardrails=[{"metric": "p95", "max": 1, "of": "4/3"}]), {"guardrails[0].of": "more broken panes"}),
    (
        changed(guardrails=[{"max": 1, "action": "panic"}]),
        {"guardrails[0].metric": "is missing", "guardrails[0].action": "panic"},
    ),
    (changed(stages=[{"setWeight": 100, "pause": {"default": "maybe"}}]), {"stages[0].pause.default": "maybe"}),
    (
        changed(artifact={"version": "v 2", "sha256": "abc", "uri": "https://x/y"}),
        {"artifact.version": "is not a name of letters", "artifact.sha256": "64 hexadecimal"},
    ),
    (changed(artifact={"version": "v2", "uri": "https://x/y"}), {"artifact.sha256": "is missing; give the sha256"}),
    (changed(artifact={"version": "v2"}), {"artifact.path": "is missing; name the file"}),
    (changed(artifact={"version": "v2", "path": "nowhere.tar"}), {"artifact.path": "No such file"}),
    (changed(artifact={"version": "v2", "path": 7}), {"artifact.path": "expected text"}),
    (changed(artifact={"version": "v2", "path": "a\0b"}), {"artifact.path": "null byte"}),
    (changed(artifact={"version": "v2", "uri": "http://[x"}), {"artifact.uri": "is no address"}),
    (changed() | {True: 1, None: 2, 3: 4}, {"True": "unknown key", "None": "unknown key", "3": "unknown key"}),
    (changed(artifact="v2"), {"artifact": "expected an object"}),
    (changed(rollback={"artifact": good()["artifact"]}), {"rollback.artifact.version": "changes nothing"}),
    (changed(rollback={"maxUnavailable": "half"}), {"rollback.maxUnavailable": "is not a number of nodes, or a percentage"}),
    (changed(rollback={"artefact": {}}), {"rollback.artefact": "did you mean artifact?", "rollback.artifact": "is missing"}),
    (changed(control="maybe", onFail="cry"), {"control": "none of restart, observe, none", "onFail": "none of rollback, pause"}),
    (changed(maxUnavailable="200%"), {"maxUnavailable": "'200%' is not a number of nodes, or a percentage"}),
    (changed(kind="Deployment"), {"kind": "must be Rollout"}),
    ("just text", {"(whole file)": "expected service"}),
    ("", {"(whole file)": "expected service"}),
]


@pytest.mark.parametrize(("plan", "expected"), BAD, ids=[",".join(expected) for _, expected in BAD])
def test_every_fault_is_named_by_its_path(tmp_path: Path, plan: object, expected: dict[str, str]) -> None:
    found = faults(tmp_path, plan)
    assert set(found) == set(expected)
    for path, part in expected.items():
        assert part in found[path]


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    wrong = changed(stages=[{"setNodes": -1}, {"setWeight": 100, "beke": "1s"}], guardrails=[{"metric": "x"}], watch="soon")
    assert set(faults(tmp_path, wrong)) == {"stages[0].setNodes", "stages[1].beke", "guardrails[0].metric", "watch"}


def test_what_makes_no_sense_is_told_together_with_what_has_the_wrong_form(tmp_path: Path) -> None:
    wrong = changed(artifact={"version": "v2", "path": "none.tar"}, stages=[{"setNodes": 2}, {"setNodes": 1}], watch="soon")
    assert set(faults(tmp_path, wrong)) == {"artifact.path", "stages[1].setNodes", "stages[1].setWeight", "watch"}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [", "line 1"),
        ("\t- x", "line 1"),
        ("a: b: c", "line 1"),
        ("on: 2024-13-45", "month"),
        ("[" * 3_000, "nested too deep"),
        ("limits: [1]\nwatch: 0s\nlimits: [2]\n", "line 3: limits stands twice"),
        ("a: !!bool maybe", "tag that does not fit"),
        ("a: !!timestamp foo", "tag that does not fit"),
        ("a: !!int ''", "tag that does not fit"),
        ("a: !!map [b]", "expected a mapping"),
    ],
)
def test_what_is_not_yaml_is_said_in_one_line(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(Problem) as caught:
        read(tmp_path, text)
    assert "not YAML: " in caught.value.what
    assert where in caught.value.what
    assert "\n" not in caught.value.what


def test_what_is_taken_over_from_elsewhere_in_a_file_may_be_said_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "base: &base {bake: 1s, setWeight: 5}\n"
        "more: &more {control: none}\n"
        "deep: {stage: &deep {<<: *base, setWeight: 100}}\n"
        "stage: {<<: *deep, <<: *more, bake: 2s}\n"
    )
    assert read_yaml(path)["stage"] == {"bake": "2s", "setWeight": 100, "control": "none"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"none\.yaml: No such file") as caught:
        read_plan(tmp_path / "none.yaml", GIVEN)
    assert caught.value.code == 2


def test_what_a_file_may_leave_out_is_filled_in(tmp_path: Path) -> None:
    plan = read(tmp_path, good())
    assert (plan.fleet, plan.issued_ms, plan.expires_ms, plan.actor) == ("local", 1_000, 2_000, "ada")
    assert plan.id.startswith("shop-v2-")
    assert read(tmp_path, good()).id != plan.id


@pytest.mark.parametrize(
    "words",
    [{"path": "build/a.tar"}, {"uri": "build/a.tar"}, {"uri": "FOLDER/build/a.tar"}, {"uri": "file://FOLDER/build/a.tar"}],
)
def test_a_local_artifact_is_measured(tmp_path: Path, words: dict[str, str]) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "a.tar").write_bytes(b"bytes")
    told = {key: value.replace("FOLDER", str(tmp_path)) for key, value in words.items()}
    artifact = read(tmp_path, changed(artifact={"version": "v2"} | told)).artifact
    assert (artifact.sha256, artifact.size_bytes) == (hashlib.sha256(b"bytes").hexdigest(), 5)
    assert artifact.uri == str(tmp_path / "build" / "a.tar")


def test_a_path_is_measured_and_the_address_is_where_nodes_fetch_it(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"bytes")
    artifact = read(
        tmp_path, changed(artifact={"version": "v2", "path": "a.tar", "uri": "https://builds.example/a.tar"})
    ).artifact
    assert artifact.uri == "https://builds.example/a.tar"
    assert artifact.size_bytes == 5


def test_a_digest_that_is_not_the_files_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"bytes")
    found = faults(tmp_path, changed(artifact={"version": "v2", "path": "a.tar", "sha256": SHA}))
    assert "a.tar is " in found["artifact.sha256"]


def test_a_configuration_is_measured_too(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"x: 1")
    artifact = read(tmp_path, changed(artifact=good()["artifact"] | {"configPath": "c.yaml"})).artifact
    assert (artifact.config_sha256, artifact.config_uri) == (hashlib.sha256(b"x: 1").hexdigest(), str(tmp_path / "c.yaml"))


def test_a_share_may_be_a_plain_number(tmp_path: Path) -> None:
    plan = read(tmp_path, changed(maxUnavailable=2, stages=[{"setNodes": 1, "maxUnavailable": 1}, {"setWeight": 100}]))
    assert (plan.max_unavailable, plan.stages[0].max_unavailable) == ("2", "1")


def test_a_named_target_is_kept_whatever_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(changed(rollback={"artifact": {"version": "v0", "sha256": SHA, "uri": "https://x/y"}})))
    draft = read_plan(path, GIVEN)
    assert with_target(draft, Artifact(version="v1", sha256=SHA)) == draft.plan
