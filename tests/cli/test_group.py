"""The group: late imports, short errors, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.kit import World

from tidegate.cli import group
from tidegate.cli.group import COMMANDS, missing


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_has_help(tmp_path: Path, name: str) -> None:
    helped = World(tmp_path).type(name, "--help")
    assert (helped.code, helped.err) == (0, "")
    assert helped.out.startswith(f"Usage: tidegate {name}")


def test_help_imports_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (target, _) in COMMANDS.items():
        monkeypatch.delitem(sys.modules, target.partition(":")[0], raising=False)
        assert name
    assert World(tmp_path).type("--help").code == 0
    assert not [name for name, (target, _) in COMMANDS.items() if target.partition(":")[0] in sys.modules]


@pytest.mark.parametrize(
    ("package", "extra"),
    [("faust", "server"), ("river.stats", "server"), ("structlog", "node"), ("confluent_kafka", "quickstart")],
)
def test_a_missing_package_names_the_extra_that_brings_it(package: str, extra: str) -> None:
    problem = missing(ModuleNotFoundError(f"No module named {package!r}", name=package), "tidegate worker")
    assert package.partition(".")[0] in problem.what
    assert problem.remedy == f"pip install 'tidegate[{extra}]'"


def test_an_installation_without_the_server_runs_what_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(group.COMMANDS, "worker", ("tidegate_no_such_module.worker:worker", "Not here."))
    world = World(tmp_path)
    assert world.type("--help").code == 0
    assert world.type("topics", "list", "-o", "json").code == 0
    lacking = world.type("worker", "intake")
    assert (lacking.code, "tidegate_no_such_module" in lacking.err, "Traceback" in lacking.err) == (1, True, False)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["rollout"], 2, "Usage: tidegate rollout"),
        (["rollout", "pause"], 2, "Missing argument 'SERVICE'"),
        (["rollout", "start", "x.yaml", "--timeout", "soon"], 2, "'soon' is not a duration"),
        (["rollout", "status"], 2, "tidegate init"),
        (["node", "--config", "none.yaml"], 2, "tidegate init"),
        (["up"], 2, "tidegate init"),
    ],
)
def test_an_expected_failure_is_short_and_has_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = World(tmp_path).type(*arguments)
    assert failed.code == code
    assert told in failed.err
    assert "Traceback" not in failed.err


def test_a_command_without_a_broker_says_what_to_start(world: World) -> None:
    failed = world.type("topics", "check")
    assert (failed.code, failed.err.count("\n")) == (1, 2)
    assert "no broker is known" in failed.err
    assert "tidegate up" in failed.err


def test_a_key_that_others_can_read_stops_a_command_before_it_asks_for_anything(world: World) -> None:
    (world.home.keys / "operator.key").chmod(0o644)
    failed = world.type("rollout", "abort", "shop")
    assert failed.code == 1
    assert f"do: run: chmod 600 {world.home.keys / 'operator.key'}" in failed.err
    assert not world.log.topic("intents")


@pytest.mark.parametrize("form", ["json", "yaml", "table"])
def test_topics_are_listed_without_a_broker(world: World, form: str) -> None:
    listed = world.type("topics", "list", "--output", form)
    assert listed.code == 0
    if form != "table":
        assert "tidegate.decisions" in listed.out


def test_output_that_nobody_reads_is_no_refusal(tmp_path: Path) -> None:
    """click ends the process with 1 then, which says that a rollout failed."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "tidegate.cli.main", "--home", str(tmp_path), "topics", "list"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = World(tmp_path).type("init", home=tmp_path / "file" / "home")
    assert (made.code, str(tmp_path / "file") in made.err, "Traceback" in made.err) == (1, True, False)
