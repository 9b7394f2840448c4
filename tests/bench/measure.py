"""Watching processes at work: progress and CPU time, read often; rates are taken over the middle of a run."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

TICKS = os.sysconf("SC_CLK_TCK")
EVERY_S = 0.1


class Sample(Struct, frozen=True):
    """Rows that each process has done, wall seconds, and each process's CPU seconds at one moment."""

    rows: tuple[int, ...]
    wall_s: float
    cpu_s: tuple[float, ...]


class Rate(Struct, frozen=True):
    """Between a tenth and nine tenths of the rows, of each process its own: one may be ahead. Wall: the last one's."""

    rows_per_wall_s: float
    cpu_us_per_row: tuple[float, ...]


def cpu_s(pid: int) -> float:
    """Return user and system CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def follow(done: Callable[[], tuple[int, ...]], pids: list[int], rows: int, within_s: float) -> list[Sample]:
    """Sample until the last process has done all rows. TimeoutError where it has not in time."""
    began = time.monotonic()
    samples: list[Sample] = []
    while not samples or samples[-1].rows[-1] < rows:
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"{samples[-1].rows if samples else 0} of {rows} rows after {within_s:.0f} s")
        samples.append(Sample(done(), time.monotonic(), tuple(cpu_s(pid) for pid in pids)))
        time.sleep(EVERY_S)
    return samples


def rate(samples: list[Sample]) -> Rate:
    """Return the rate over the middle of a run: starting and ending do not count."""
    middles = [_middle(samples, process) for process in range(len(samples[-1].rows))]
    first, last = middles[-1]
    return Rate(
        rows_per_wall_s=(last.rows[-1] - first.rows[-1]) / (last.wall_s - first.wall_s),
        cpu_us_per_row=tuple(
            (last.cpu_s[process] - first.cpu_s[process]) / (last.rows[process] - first.rows[process]) * 1e6
            for process, (first, last) in enumerate(middles)
        ),
    )


def _middle(samples: list[Sample], process: int) -> tuple[Sample, Sample]:
    rows = samples[-1].rows[process]
    first = next(sample for sample in samples if sample.rows[process] >= rows * 0.1)
    last = next(sample for sample in samples if sample.rows[process] >= rows * 0.9)
    if first.rows[process] == last.rows[process]:
        raise ValueError("too few rows: all were done between two looks")
    return first, last
