"""Executors by their word: built in or from an installed package, and a sentence for each thing that can be wrong with one."""

import re
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from tests.node.benches import install_sample
from tests.node.kit import config_of

from tidegate.node import ConfigError
from tidegate.node.config import ServiceConfig
from tidegate.node.executors.registry import BUILT_IN, executors_of
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.codec import convert


def found(folder: Path, **service):
    config = config_of(folder, shop=ServiceConfig(**service))
    return executors_of(config, SystemDisk(folder / "state"), SystemClock())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package with one module and its entry points."""

    def install(name: str, entries: str, source: str = "") -> None:
        place = tmp_path / name
        about = place / f"{name}-2.1.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
        (about / "entry_points.txt").write_text(f"[tidegate.executors]\n{entries}\n")
        (place / f"{name}_module.py").write_text(source)
        monkeypatch.syspath_prepend(str(place))
        monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)

    return install


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.name)
def test_ours_are_loaded_as_others_are(entry):
    assert callable(entry.load())


def test_an_installed_package_brings_its_own(tmp_path, monkeypatch):
    (tmp_path / "packages").mkdir()
    monkeypatch.syspath_prepend(install_sample(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, "sample_executor", raising=False)
    executors = found(tmp_path, executor="sample", options={"colour": "red"})
    assert list(executors) == ["sample"], "what no service names is not even made"
    with pytest.raises(
        ConfigError, match=r"executor sample of sample-executor 1\.0 .* services\.shop\.options\.size: there is only"
    ):
        found(tmp_path, executor="sample", options={"size": 3})


def test_an_unknown_one_is_named_with_those_there_are(tmp_path):
    with pytest.raises(
        ConfigError, match=r"services\.shop\.executor: docker is unknown; installed are hooks, none, process, symlink"
    ):
        found(tmp_path, executor="docker")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_thing", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def other(): ...", "cannot be loaded: AttributeError"),
        ("def make(config, disk, clock): raise RuntimeError('no daemon')", "cannot be made: RuntimeError: no daemon"),
        ("def make(): ...", "cannot be made: TypeError"),
        ("class make:\n  def __init__(self, *_): ...\n  def swap(self): ...", "is no executor: it lacks adopt, close, fetch"),
    ],
)
def test_one_that_does_not_work_is_named_with_its_package_and_the_cause(tmp_path, package, source, said):
    package("broken", "broken = broken_module:make", source)
    with pytest.raises(ConfigError, match=said) as refused:
        found(tmp_path, executor="broken")
    assert "executor broken of broken 2.1 (broken_module:make)" in str(refused.value)
    assert found(tmp_path, executor="none"), "a node that does not use it does not care"


def test_two_packages_may_not_bring_the_same_word(tmp_path, package):
    package("one", "twin = one_module:make\nprocess = one_module:make")
    package("two", "twin = two_module:make")
    with pytest.raises(ConfigError, match=r"executor twin: .*uninstall all but one") as refused:
        found(tmp_path, executor="twin")
    assert "one 2.1" in str(refused.value)
    assert "two 2.1" in str(refused.value)
    with pytest.raises(ConfigError, match=r"tidegate and one 2\.1 all bring it"):
        found(tmp_path, executor="process", command=("x",))


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"executor": "process", "command": ("x",), "options": {"keep": 3}}, r"services\.shop\.options"),
        ({"executor": "none", "options": {"keep": 3}}, r"services\.shop\.options"),
        ({"executor": "symlink"}, r"services\.shop\.options.*restart"),
        ({"executor": "symlink", "options": {"restart": []}}, r"services\.shop\.options\.restart"),
        ({"executor": "symlink", "options": {"restart": ["true"], "keep": -1}}, r"services\.shop\.options\.keep"),
        ({"executor": "symlink", "options": {"restart": ["true"], "folder": "srv"}}, "srv is relative; write an absolute path"),
        (
            {"executor": "symlink", "options": {"restart": ["true"]}, "command": ("x",)},
            r"services\.shop\.command: is of executor process",
        ),
        ({"executor": "hooks", "options": {"restart": ["true"]}}, r"services\.shop\.options.*restart"),
    ],
)
def test_options_that_are_none_are_refused_with_their_path(tmp_path, service, said):
    with pytest.raises(ConfigError, match=said):
        found(tmp_path, **service)


def test_two_services_may_not_share_a_folder(tmp_path):
    service = ServiceConfig(executor="symlink", options={"restart": ["true"], "folder": str(tmp_path / "x")})
    with pytest.raises(ConfigError, match=r"services\.b\.options\.folder: .* is service a's already"):
        executors_of(config_of(tmp_path, a=service, b=service), SystemDisk(tmp_path / "state"), SystemClock())


def test_every_example_of_the_documentation_is_taken(tmp_path):
    text = (Path(__file__).parents[2] / "docs/executors.md").read_text()
    examples = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    seen = {next(iter(found(tmp_path, **msgspec.structs.asdict(convert(one["shop"], ServiceConfig))))) for one in examples}
    assert seen == {entry.name for entry in BUILT_IN}
