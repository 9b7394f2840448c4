"""What is published about files and topics, made of the code.

``PYTHONPATH=. .venv/bin/python -m tests.describe.published`` writes docs/schemas/*.json, docs/asyncapi.yaml, the tables of
docs/configuration.md, and those of docs/sizing.md from what was measured.
"""

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tidegate.describe.asyncapi import as_yaml, asyncapi
from tidegate.describe.files import FILES, file_schema
from tidegate.describe.page import keys_table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "configuration.md"
SIZING, MEASURED = DOCS / "sizing.md", DOCS / "proofs" / "sizing.json"
FIGURES = re.compile(r"(<!-- of proofs/sizing.json[^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- keys of (\w+), made of the code[^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)


def published() -> Iterator[tuple[Path, str]]:
    """Each file with the text that it must have."""
    yield DOCS / "asyncapi.yaml", as_yaml(asyncapi(version("tidegate")))
    for name in FILES:
        yield DOCS / "schemas" / f"{name}.json", json.dumps(file_schema(name), indent=2, ensure_ascii=False) + "\n"
    yield PAGE, TABLE.sub(lambda match: f"{match[1]}\n{keys_table(match[2])}\n{match[3]}", PAGE.read_text())
    yield (
        SIZING,
        FIGURES.sub(lambda match: f"{match[1]}\n{sizing(json.loads(MEASURED.read_text()))}\n{match[2]}", SIZING.read_text()),
    )


def sizing(proof: dict[str, Any]) -> str:
    """The tables of what was measured; topics that nothing was written to are left out."""
    rows = "".join(
        f"| `{name}` | {one['gb_a_day']:.2f} | {one['kept_days']:g} | {one['gb_kept']:.1f} |\n"
        for name, one in proof["topics"].items()
        if one.get("gb_a_day") and "kept_days" in one
    )
    roles = "".join(
        f"| {name} | {one['cpu_percent_of_one_core']:.0f} % | {one['rss_mib']} |\n" for name, one in proof["roles"].items()
    )
    bytes_ = "".join(f"| {name} | {one} |\n" for name, one in proof["bytes_of_a_row"].items())
    return (
        f"| topic | GB a day | days kept | GB kept |\n|---|---|---|---|\n{rows}\n"
        f"| process | of one core | MiB |\n|---|---|---|\n{roles}\n"
        f"| row | bytes |\n|---|---|\n{bytes_}"
    )


if __name__ == "__main__":
    (DOCS / "schemas").mkdir(exist_ok=True)
    for path, text in published():
        path.write_text(text)
