"""``tidegate flag export``: what is published of a set, as a flagd file."""

from pathlib import Path

import click
import msgspec

from tidegate.cli.connect import run
from tidegate.cli.flag_import import NameType
from tidegate.cli.flag_published import read_published
from tidegate.cli.output import Format, dump
from tidegate.cli.session import session
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.runtime.trust import write_public
from tidegate.wire.flags import FlagFile, file_of_set

SCHEMA = "https://flagd.dev/schema/v0/flags.json"


@click.command()
@click.option("--set", "set_id", type=NameType(), required=True, help="The set whose flags are written.")
@click.option("-o", "--file", type=click.Path(path_type=Path, dir_okay=False), help="Where to; none: standard output.")
@click.option(
    "--output",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="With a file: how to print what was done. Without: the file as JSON, or as YAML.",
)
@click.pass_obj
def export(home: Home, set_id: str, file: Path | None, form: Format) -> None:
    """Write the flags of a set as services see them now: a flagd file, kills and shares under way included.

    The file is there whole or not at all; one that was there is replaced.
    """
    found = run(_read(home, set_id))
    if file is None:
        dump(msgspec.json.decode(found.encoded()), "json" if form == "table" else form)
        return
    if not file.parent.is_dir():
        raise Problem(f"{file.parent} is no folder", "make it, or name another file", code=2)
    data = msgspec.json.format(found.encoded(), indent=2) + b"\n"
    try:
        write_public(file, data)
    except OSError as error:
        raise Problem(f"{file}: {error.strerror}", "name a file that may be written") from error
    if form == "table":
        click.echo(f"{file}: {len(found.flags)} flags of {set_id}, {len(data)} bytes")
    else:
        dump({"file": str(file), "set": set_id, "flags": len(found.flags), "bytes": len(data)}, form)


async def _read(home: Home, set_id: str) -> FlagFile:
    async with session(home, topics=("keys",)) as here:
        values = (await read_published(here, set_id)).values
    if not values:
        raise Problem(f"nothing is published of the set {set_id}", "see: tidegate flag list")
    return file_of_set(values, SCHEMA)
