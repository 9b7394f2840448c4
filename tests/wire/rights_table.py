"""The table of rights in docs/security.md, made of the topic table.

``PYTHONPATH=. .venv/bin/python -m tests.wire.rights_table`` writes it anew.
"""

import re
from pathlib import Path

from tidegate.wire.acls import GROUPS, PRINCIPALS
from tidegate.wire.topics import TOPICS

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
TABLE = re.compile(r"(<!-- rights, [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)


def page() -> str:
    """The page as it must be."""
    return TABLE.sub(lambda match: f"{match[1]}\n{table()}\n\n{match[2]}", PAGE.read_text())


def table() -> str:
    """One row for each role of the topic table; all names are below the prefix."""
    rows = ["| role | writes | reads | consumer group |", "|---|---|---|---|"]
    for role in PRINCIPALS:
        if role != "admin":
            writes = ", ".join(topic.name for topic in TOPICS if role in topic.writers)
            reads = ", ".join(topic.name for topic in TOPICS if role in topic.readers)
            rows.append(f"| `{role}` | {writes} | {reads} | {role if role in GROUPS else ''} |")
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
