"""``tidegate schema``: the form of every file that a person writes, for editors and for whoever checks files elsewhere."""

import json

import click

from tidegate.describe.files import FILES, file_schema


@click.command()
@click.argument("name", type=click.Choice(list(FILES)))
def schema(name: str) -> None:
    """Print the JSON Schema of a file that a person writes: config.yaml, a node's file, a plan, a policy, a flag and so on.

    An editor takes it from the file's first line, as in: # yaml-language-server: $schema=plan.json
    """
    click.echo(json.dumps(file_schema(name), indent=2, ensure_ascii=False))
