"""What is published about files and topics, made of the code.

``PYTHONPATH=. .venv/bin/python -m tests.describe.published`` writes docs/schemas/*.json, docs/asyncapi.yaml, and the tables of
docs/configuration.md.
"""

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tidegate.describe.asyncapi import as_yaml, asyncapi
from tidegate.describe.files import FILES, file_schema
from tidegate.describe.page import keys_table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "configuration.md"
TABLE = re.compile(r"(<!-- keys of (\w+), made of the code[^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)


def published() -> Iterator[tuple[Path, str]]:
    """Each file with the text that it must have."""
    yield DOCS / "asyncapi.yaml", as_yaml(asyncapi(version("tidegate")))
    for name in FILES:
        yield DOCS / "schemas" / f"{name}.json", json.dumps(file_schema(name), indent=2, ensure_ascii=False) + "\n"
    yield PAGE, TABLE.sub(lambda match: f"{match[1]}\n{keys_table(match[2])}\n{match[3]}", PAGE.read_text())


if __name__ == "__main__":
    (DOCS / "schemas").mkdir(exist_ok=True)
    for path, text in published():
        path.write_text(text)
