"""What services print is bounded, and nobody who still prints loses it."""

import os

import pytest

from tidegate.node.executors.outputs import OUTPUT_BYTES_MOST, OUTPUTS_KEPT, bound_outputs


@pytest.fixture
def folder(tmp_path):
    """Thirty outputs of five bytes, the lower the number the longer nothing was printed."""
    for number in range(30):
        path = tmp_path / f"n1-{number}.err"
        path.write_bytes(b"said\n")
        os.utime(path, (number, number))
    return tmp_path


def test_the_oldest_go_but_not_what_a_quiet_service_prints_to(folder):
    bound_outputs(folder, {"n1-3"})
    assert {path.stem for path in folder.iterdir()} == {"n1-3"} | {f"n1-{number}" for number in range(30 - OUTPUTS_KEPT, 30)}


@pytest.mark.parametrize("number", [3, 29])
def test_what_is_too_long_is_cut_whoever_prints_to_it(folder, number):
    path = folder / f"n1-{number}.err"
    with path.open("r+b") as file:
        file.truncate(OUTPUT_BYTES_MOST + 1)
    os.utime(path, (number, number))
    bound_outputs(folder, {"n1-3"})
    assert path.stat().st_size == 0


def test_a_folder_that_is_gone_is_no_trouble(tmp_path):
    bound_outputs(tmp_path / "gone", ())
