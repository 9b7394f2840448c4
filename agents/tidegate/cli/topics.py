"""``tidegate topics``: the one table of topics against a broker."""

from importlib.metadata import version

import click

from tidegate.broker import check_topics, create_topics
from tidegate.broker.topics import Difference
from tidegate.cli.connect import connection, insist, run
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.topics_acl import acl
from tidegate.describe.asyncapi import as_yaml
from tidegate.describe.asyncapi import asyncapi as describe
from tidegate.runtime.home import Home
from tidegate.wire.topics import DAY_MS, TOPICS, Topic


@click.group()
def topics() -> None:
    """Create, check and list topics, and who may do what with them. The table in tidegate.wire.topics is the truth."""


topics.add_command(acl)


@topics.command()
@click.pass_obj
def create(home: Home) -> None:
    """Create the topics that are missing; change none that exist."""
    made = run(_create(home))
    for name in made:
        click.echo(f"created {name}")
    click.echo(f"{len(TOPICS) - len(made)} of {len(TOPICS)} topics were there already")


@topics.command()
@click.pass_obj
def check(home: Home) -> int:
    """Compare the broker's topics with the table. Exit code 1 where they differ."""
    differences = run(_check(home))
    for difference in differences:
        click.echo(str(difference))
    click.echo(f"{len(differences)} differences" if differences else f"all {len(TOPICS)} topics are as they should be")
    return 1 if differences else 0


@topics.command(name="list")
@format_option
@click.pass_obj
def list_(home: Home, form: Format) -> None:
    """List the topics, who writes and who reads them. Needs no broker."""
    show([_row(topic, _prefix(home)) for topic in TOPICS], form, empty="no topics")


@topics.command()
@click.pass_obj
def asyncapi(home: Home) -> None:
    """Print AsyncAPI 3.1 of every topic: what travels on it, who writes it and who reads it. Needs no broker."""
    click.echo(as_yaml(describe(version("tidegate"), _prefix(home))), nl=False)


def _prefix(home: Home) -> str:
    return home.settings.kafka.prefix if home.config.exists() else "tidegate."


def _row(topic: Topic, prefix: str) -> dict[str, object]:
    kept = "compacted" if topic.compacted else "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} d"
    return {
        "topic": prefix + topic.name,
        "key": topic.key,
        "partitions": topic.partitions,
        "kept": kept,
        "writers": list(topic.writers),
        "readers": list(topic.readers),
    }


async def _create(home: Home) -> list[str]:
    where = connection(home, "admin")
    await insist(where)
    return await create_topics(where)


async def _check(home: Home) -> list[Difference]:
    where = connection(home, "admin")
    await insist(where)
    return await check_topics(where)
