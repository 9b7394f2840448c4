"""Settings: a file under the environment, every fault by its path."""

from pathlib import Path

import pytest

from tidegate.runtime.problem import Problem
from tidegate.runtime.settings import Settings, load_settings

FILE = "fleet: local\nkafka: {prefix: a.}\n"


def load(folder: Path, text: str = FILE, **environment: str) -> Settings:
    path = folder / "config.yaml"
    path.write_text(text)
    return load_settings(path, environment)


def test_a_file_may_say_little(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.fleet, settings.kafka.prefix, settings.kafka.bootstrap) == ("local", "a.", None)


@pytest.mark.parametrize(
    ("variables", "at", "value"),
    [
        ({"TIDEGATE__KAFKA__PREFIX": "b."}, "kafka.prefix", "b."),
        ({"TIDEGATE__HTTP__JUDGE": "9182"}, "http.judge", 9182),
        ({"TIDEGATE__LOG__LEVEL": "debug"}, "log.level", "debug"),
        ({"TIDEGATE__FLEET": "42"}, "fleet", "42"),
        ({"TIDEGATE__KAFKA__BOOTSTRAP": ""}, "kafka.bootstrap", None),
        ({"TIDEGATE__KAFKA__BOOTSTRAP": "x:1"}, "kafka.bootstrap", "x:1"),
        ({"TIDEGATE__KAFKA__BOOTSTRAP": "[::1]:9092"}, "kafka.bootstrap", "[::1]:9092"),
        ({"TIDEGATE__NOTIFY__TARGETS": '[{"kind": "webhook"}]'}, "notify.targets", [{"kind": "webhook"}]),
        ({"TIDEGATE__API": '{"port": 1}', "TIDEGATE__API__SYNC": "2"}, "api.sync", 2),
        ({"TIDEGATE_BOOTSTRAP": "y:2"}, "kafka.bootstrap", "y:2"),
        ({"TIDEGATE_BOOTSTRAP": "y:2", "TIDEGATE__KAFKA__BOOTSTRAP": "x:1"}, "kafka.bootstrap", "y:2"),
        ({"TIDEGATE_BOOTSTRAP": ""}, "kafka.bootstrap", None),
        ({"TIDEGATE_HOME": "elsewhere", "OTHER__KAFKA__PREFIX": "c."}, "kafka.prefix", "a."),
    ],
)
def test_a_variable_wins_over_the_file(tmp_path: Path, variables: dict[str, str], at: str, value: object) -> None:
    found: object = load(tmp_path, **variables)
    for part in at.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("fleet: local\nkafak: {}\n", {}, "kafak: unknown key; did you mean kafka?"),
        ("fleet: local\nkafka: {prefx: a}\n", {}, "kafka.prefx: unknown key; did you mean prefix?"),
        ("kafka: {}\n", {}, "fleet: is missing"),
        ("", {}, "fleet: is missing"),
        ("fleet: local\nhttp: {judge: 70000}\n", {}, "http.judge: 70000 is not a whole number <= 65535"),
        ("fleet: local\ntimings: {heartbeat: 3}\n", {}, "timings.heartbeat: 3 is not a number and ms, s"),
        ("fleet: local\nlog: {level: loud}\n", {}, "log.level: 'loud' is none of debug, info, warning, error"),
        (FILE, {"TIDEGATE__HTTP__JUDGE": "many"}, "TIDEGATE__HTTP__JUDGE: 'many' is not a whole number"),
        (FILE, {"TIDEGATE__KAFKA__TOPIC": "x"}, "TIDEGATE__KAFKA__TOPIC: unknown key"),
        (FILE, {"TIDEGATE__NOTIFY__TARGETS": "[{kind: x}]"}, "TIDEGATE__NOTIFY__TARGETS: "),
        (FILE, {"TIDEGATE__NOTHING": "x"}, "TIDEGATE__NOTHING: unknown key"),
        ("fleet: [", {}, "not YAML"),
    ],
)
def test_a_fault_names_its_path_or_its_variable(tmp_path: Path, text: str, variables: dict[str, str], expected: str) -> None:
    with pytest.raises(Problem) as caught:
        load(tmp_path, text, **variables)
    assert expected in caught.value.what
    assert "\n" not in caught.value.what
    assert caught.value.code == 2


NO_ADDRESSES = [":9092", "kafka:", "kafka:abc", "kafka:²", "kafka:0", "kafka:99092", "kafka:9092/", "::1:9092", "a b"]


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("place", ["kafka.bootstrap", "TIDEGATE_BOOTSTRAP", "TIDEGATE__KAFKA__BOOTSTRAP"])
def test_what_is_no_address_of_a_broker_is_named_with_the_place_where_it_stands(tmp_path: Path, address: str, place: str) -> None:
    """Of a port beyond 65535 the first command ended in a traceback."""
    told = f"127.0.0.1:9092, {address}"
    text, variables = (FILE, {place: told}) if place.isupper() else (f'fleet: local\nkafka: {{bootstrap: "{told}"}}\n', {})
    with pytest.raises(Problem) as caught:
        load(tmp_path, text, **variables)
    assert caught.value.what.endswith(f"{place}: {address!r} is no address of a broker")
    assert (caught.value.code, "host:port" in caught.value.remedy) == (2, True)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        load_settings(tmp_path / "config.yaml", {})
    assert "tidegate init" in caught.value.remedy
