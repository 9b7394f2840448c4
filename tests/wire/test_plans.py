import pytest

from tidegate.wire.codec import Malformed, convert, decode_strict, encode
from tidegate.wire.plans import Plan, faults

SHA = "a" * 64


def document(**change):
    return {
        "kind": "Rollout",
        "id": "p1",
        "fleet": "test",
        "service": "shop",
        "artifact": {"version": "v2", "sha256": SHA},
        "rollback": {"artifact": {"version": "v1", "sha256": SHA}},
        "stages": [{"setNodes": 1}, {"setWeight": 50}, {"setWeight": 100}],
        "expiresMs": 1,
    } | change


def test_a_sound_plan_has_no_fault_and_comes_back_as_signed():
    plan = convert(document(guardrails=[{"metric": "p95", "maxRatioToControl": 1.3}]), Plan)
    assert faults(plan) == []
    assert decode_strict(encode(plan), Plan) == plan


UNREADABLE = [
    (document(kind="Rollin"), "kind"),
    (document(guardrail=[]), "guardrail"),
    (document(stages=[]), "stages"),
    (document(stages=[{"setNodes": 1, "setWieght": 2}]), "stages[0]"),
    (document(stages=[{"setNodes": 0}]), "stages[0].setNodes"),
    (document(stages=[{"setWeight": 101}]), "stages[0].setWeight"),
    (document(stages=[{"setWeight": 100, "bake": "5 minutes"}]), "stages[0].bake"),
    (document(stages=[{"setWeight": 100, "maxUnavailable": "25 %"}]), "stages[0].maxUnavailable"),
    (document(stages=[{"setWeight": 100}] * 51), "stages"),
    (document(artifact={"version": "v2", "sha256": "abc"}), "artifact.sha256"),
    (document(artifact={"version": "v 2", "sha256": SHA}), "artifact.version"),
    (document(guardrails=[{"metric": "p96", "max": 1}]), "guardrails[0].metric"),
    (document(guardrails=[{"metric": "p95", "maxRatioToControl": 1.0}]), "guardrails[0].maxRatioToControl"),
    (document(guardrails=[{"metric": "p95", "max": 1, "of": "two"}]), "guardrails[0].of"),
    (document(guardrails=[{"metric": "p95", "max": 1, "action": "panic"}]), "guardrails[0].action"),
    (document(control="maybe"), "control"),
    (document(onFail="ignore"), "onFail"),
    (document(absence={"quiet": {}}), "absence"),
    (document(absence={"silent": {"rolback": "9s"}}), "absence.silent"),
    (document(absence={"silent": {"pause": "soon"}}), "absence.silent.pause"),
    (document(absence={"idle": {"hold": "never"}}), "absence.idle.hold"),
    (document(absence={"late": {"action": "rollback"}}), "absence.late.action"),
    (document(absence={"skewed": {"over": "2"}}), "absence.skewed.over"),
    (document(absence={"coverage": "0.9"}), "absence.coverage"),
]


@pytest.mark.parametrize(("plain", "path"), UNREADABLE, ids=[f"{index}-{path}" for index, (_, path) in enumerate(UNREADABLE)])
def test_what_types_can_see_is_refused_with_its_path(plain, path):
    with pytest.raises(Malformed) as raised:
        convert(plain, Plan)
    where = f"{raised.value.path}: {raised.value.problem}"
    assert path in where


@pytest.mark.parametrize("field", ["id", "fleet", "service", "artifact", "stages", "expiresMs"])
def test_what_a_plan_needs_is_asked_for_by_name(field):
    plain = document()
    del plain[field]
    with pytest.raises(Malformed, match=field):
        convert(plain, Plan)


FAULTY = [
    ({"stages": [{}, {"setWeight": 100}]}, ["stages[0]"]),
    ({"stages": [{"setNodes": 1, "setWeight": 1}, {"setWeight": 100}]}, ["stages[0]"]),
    ({"stages": [{"setNodes": 3}, {"setNodes": 3}, {"setWeight": 100}]}, ["stages[1].setNodes"]),
    ({"stages": [{"setWeight": 50}, {"setWeight": 40}, {"setWeight": 100}]}, ["stages[1].setWeight"]),
    ({"stages": [{"setNodes": 1}, {"setWeight": 99}]}, ["stages[1].setWeight"]),
    ({"stages": [{"setNodes": 1}]}, ["stages[0].setWeight"]),
    ({"guardrails": [{"metric": "p95"}]}, ["guardrails[0]"]),
    ({"guardrails": [{"metric": "p95", "max": 1, "maxRatioToControl": 2}]}, ["guardrails[0]"]),
    ({"guardrails": [{"metric": "p95", "max": 1, "of": "4/3"}]}, ["guardrails[0].of"]),
    ({"rollback": {"artifact": {"version": "v2", "sha256": SHA}}}, ["rollback.artifact.version"]),
    ({"absence": {"silent": {"pause": "20s"}}}, ["absence.silent.rollback"]),
    ({"progressDeadline": "367d"}, ["progressDeadline"]),
    ({"progressDeadline": "366d"}, []),
    ({"absence": {"silent": {"pause": "never"}, "mute": {"rollback": "never"}}}, []),
    ({"absence": {"mute": {"rollback": "1s"}, "idle": {"hold": "16m"}}}, ["absence.mute.rollback", "absence.idle.rollback"]),
    (
        {"stages": [{}, {"setNodes": 2}], "guardrails": [{"metric": "p95"}, {"metric": "p99", "max": 1, "of": "9/1"}]},
        ["stages[0]", "stages[1].setWeight", "guardrails[0]", "guardrails[1].of"],
    ),
]


@pytest.mark.parametrize(("change", "paths"), FAULTY, ids=[",".join(paths) for _, paths in FAULTY])
def test_every_fault_that_types_cannot_see_is_named_at_once(change, paths):
    assert [path for path, _ in faults(convert(document(**change), Plan))] == paths
