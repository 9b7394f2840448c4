"""The same rows as a table for people, or as JSON or YAML for programs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import click
import msgspec
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1_000
"""Whoever reads a table through a pipe looks for words in it: nothing may be wrapped or cut."""

Format = Literal["table", "json", "yaml"]

format_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--output",
    "-o",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print.",
)


def show(rows: Sequence[Mapping[str, object]], form: Format, *, empty: str) -> None:
    """Print rows; ``empty`` is what a person reads where there are none. Keys are the columns of the first row."""
    if form != "table":
        dump(list(rows), form)
        return
    if not rows:
        click.echo(empty)
        return
    click.echo("\n".join(table(rows)))


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return rows as the lines of a table; keys are the columns of the first row, and no rows give no lines."""
    if not rows:
        return []
    drawing = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(rows[0]):
        # What a row is called is never cut: it is what the next command is given.
        whole = max(len(_cell(row[column])) for row in rows) if number == 0 else None
        drawing.add_column(Text(column.replace("_", " ")), min_width=whole)
    for row in rows:
        drawing.add_row(*(Text(_cell(value)) for value in row.values()))  # what people wrote is no markup
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as drawn:
        console.print(drawing)
    return [line.rstrip() for line in drawn.get().splitlines()]


def dump(value: object, form: Format) -> None:
    """Print one value as JSON or YAML."""
    plain = msgspec.to_builtins(value)
    if form == "yaml":
        click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)
