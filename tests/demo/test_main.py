"""The demo as a command: what it takes for its own."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tidegate.demo.main import demo


@pytest.mark.parametrize("name", ["demo", "demo/own.py"])
def test_a_folder_that_is_no_demos_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(click.ClickException, match="is no folder of a demo"):
        CliRunner().invoke(demo, ["--folder", str(tmp_path)], standalone_mode=False, catch_exceptions=False)
    assert (tmp_path / name).read_text() == "mine\n"
