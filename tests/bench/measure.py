"""Watching processes at work: progress and CPU time, read often; rates are taken over the middle of a run."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

TICKS = os.sysconf("SC_CLK_TCK")
EVERY_S = 0.1


class Sample(Struct, frozen=True):
    """Rows done, wall seconds and each process's CPU seconds at one moment."""

    rows: int
    wall_s: float
    cpu_s: tuple[float, ...]


class Rate(Struct, frozen=True):
    """Between a tenth and nine tenths of the rows."""

    rows_per_wall_s: float
    cpu_us_per_row: tuple[float, ...]


def cpu_s(pid: int) -> float:
    """Return user and system CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def follow(done: Callable[[], int], pids: list[int], rows: int, within_s: float) -> list[Sample]:
    """Sample until all rows are done. TimeoutError where they are not in time."""
    began = time.monotonic()
    samples: list[Sample] = []
    while not samples or samples[-1].rows < rows:
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"{samples[-1].rows if samples else 0} of {rows} rows after {within_s:.0f} s")
        samples.append(Sample(done(), time.monotonic(), tuple(cpu_s(pid) for pid in pids)))
        time.sleep(EVERY_S)
    return samples


def rate(samples: list[Sample]) -> Rate:
    """Return the rate over the middle of a run: starting and ending do not count."""
    rows = samples[-1].rows
    first = next(sample for sample in samples if sample.rows >= rows * 0.1)
    last = next(sample for sample in samples if sample.rows >= rows * 0.9)
    done = last.rows - first.rows
    if done <= 0:
        raise ValueError("too few rows: all were done between two looks")
    return Rate(
        rows_per_wall_s=done / (last.wall_s - first.wall_s),
        cpu_us_per_row=tuple((b - a) / done * 1e6 for a, b in zip(first.cpu_s, last.cpu_s, strict=True)),
    )
