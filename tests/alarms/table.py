"""The table of docs/alarms.md, made of the code: ``PYTHONPATH=. .venv/bin/python -m tests.alarms.table`` writes it."""

from pathlib import Path

from tidegate.alarms.catalogue import table

PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"
BEGIN, END = "python -m tests.alarms.table` -->\n", "<!-- end -->"


def page(text: str) -> str:
    """The page with the table as it is in the code."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
