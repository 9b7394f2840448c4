"""``tidegate topics acl``: the rights that the topic table gives to each role: printed, compared with a broker, or made there."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import click
from msgspec import Struct
from msgspec.structs import replace

from tidegate.broker import Connection
from tidegate.broker.acls import Entry, Lists, make_acls, read_acls, remove_acls
from tidegate.cli.connect import connection, insist, run
from tidegate.cli.output import dump, table
from tidegate.cli.session import Exit
from tidegate.runtime.access import ROLE, Access, Sasl
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.acls import GROUPS, PRINCIPALS, Operation, Principal, Resource, Right, rights
from tidegate.wire.topics import BY_NAME

EVERYTHING = "*"
USER_DEFAULT = f"tidegate-{ROLE}"


class Compared(Struct, frozen=True, kw_only=True):
    """Rights that the broker lacks, and such as it has beyond ours, each in words."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    other: tuple[str, ...]
    """What is never removed from here: rights to more than our topics, refusals, single hosts. For a person to judge."""


@click.command()
@click.option(
    "--principal-prefix",
    metavar="TEXT",
    help="Principals are TEXT and the role. [default: kafka.sasl.user of config.yaml, or tidegate-]",
)
@click.option(
    "--principal",
    "named",
    multiple=True,
    metavar="ROLE=NAME",
    help="Who plays a role, instead; may be repeated, as in node=web-1, or service=User:CN=shop.",
)
@click.option(
    "--as", "user", metavar="USER", help="Ask the broker as this user, as its super user. [default: role admin of config.yaml]"
)
@click.option("--password", default="", metavar="file:PATH|env:NAME", help="Where the password of that user is.")
@click.option("--check", is_flag=True, help="Compare with what stands on the broker. Exit code 1 where they differ.")
@click.option("--apply", "make", is_flag=True, help="Make on the broker what is missing.")
@click.option("--prune", is_flag=True, help="With --apply: also remove what is extra of our topics and groups.")
@click.option(
    "--output",
    "-o",
    "form",
    type=click.Choice(["table", "json", "kafka-acls"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@click.pass_obj
def acl(
    home: Home,
    principal_prefix: str | None,
    named: tuple[str, ...],
    user: str | None,
    password: str,
    check: bool,
    make: bool,
    prune: bool,
    form: str,
) -> int:
    """Print who may do what: the rights of each role's principal, derived from the topic table. Needs no broker.

    With --apply or --check it asks the broker. Role admin may look, a super user (--as) may make them. See docs/security.md.
    """
    if prune and not make:
        raise Problem("--prune changes nothing without --apply", "say both", code=Exit.USAGE)
    if not home.settings.kafka.prefix:
        raise Problem("kafka.prefix is empty: rights over it would be rights over everything", "give the fleet a prefix", code=2)
    wanted = entries_of(principals(home, principal_prefix, named), home)
    if not make and not check:
        _print(wanted, form, home)
        return Exit.OK
    where = _asking(home, user, password)
    found = run(_settle(where, wanted, make=make, prune=prune))
    if form == "json":
        dump(found, "json")
    else:
        _say(found, made=make, pruned=prune)
    return Exit.FAILED if not make and (found.missing or found.extra) else Exit.OK


def principals(home: Home, prefix: str | None = None, named: Sequence[str] = ()) -> dict[Principal, list[str]]:
    """Return the principals of each role. Problem where one is named for no role."""
    sasl = home.settings.kafka.sasl
    user = f"{prefix}{ROLE}" if prefix is not None else sasl.user if sasl is not None else USER_DEFAULT
    found: dict[Principal, list[str]] = {role: [_principal(user.replace(ROLE, role))] for role in PRINCIPALS}
    instead: dict[Principal, list[str]] = {}
    for text in named:
        role, _, name = text.partition("=")
        known = next((one for one in PRINCIPALS if one == role), None)
        if known is None or not name:
            raise Problem(f"--principal {text}: write ROLE=NAME", f"roles are: {', '.join(PRINCIPALS)}", code=Exit.USAGE)
        instead.setdefault(known, []).append(_principal(name))
    return found | instead


def entries_of(who: Mapping[Principal, Iterable[str]], home: Home) -> frozenset[Entry]:
    """Return the entries that give each principal the rights of its role, and the bridge those to read a collector's topics."""
    settings = home.settings
    found = {role: rights(role, settings.kafka.prefix) for role in who}
    collected = settings.bridge.topics if settings.bridge is not None else []
    found["bridge"] += [Right(Resource.TOPIC, one.topic, Operation.READ) for one in collected]
    return frozenset(Entry(name, right) for role, names in who.items() for name in names for right in found[role])


def extra(lists: Lists, wanted: frozenset[Entry], prefix: str) -> frozenset[Entry]:
    """Return what stands on a broker for topics and groups of this fleet, and is not wanted."""
    ours = {f"{prefix}{name}" for name in (*BY_NAME, *GROUPS)} | {prefix}
    return frozenset(entry for entry in lists.entries - wanted if entry.right.name in ours)


def reaching(lists: Lists, wanted: frozenset[Entry], prefix: str) -> frozenset[Entry]:
    """Return what is about more than this fleet and reaches into it, by a star or a shorter prefix, and what stands under our
    prefix for names that are not ours: another fleet's may begin like ours.
    """

    def reaches(right: Right) -> bool:
        covers = right.name == EVERYTHING or (right.prefixed and prefix.startswith(right.name))
        return right.resource is not Resource.CLUSTER and (covers or right.name.startswith(prefix))

    return frozenset(one for one in lists.entries - wanted - extra(lists, wanted, prefix) if reaches(one.right))


def _asking(home: Home, user: str | None, password: str) -> Connection:
    """Return how to ask the broker: as role admin, or as this user."""
    if user is None:
        return connection(home, "admin")
    kafka = home.settings.kafka
    sasl = Sasl(user=user, password=password) if kafka.sasl is None else replace(kafka.sasl, user=user, password=password)
    where = Connection(home.bootstrap(), kafka.prefix, Access(kafka.tls, sasl).of("admin", home.folder))
    where.arguments()
    return where


async def _settle(where: Connection, wanted: frozenset[Entry], *, make: bool, prune: bool) -> Compared:
    await insist(where)
    lists = await read_acls(where)
    missing, beyond = wanted - lists.entries, extra(lists, wanted, where.prefix)
    if make and missing:
        await make_acls(where, missing)
    if prune and beyond:
        await remove_acls(where, beyond)
    other = (*_words(reaching(lists, wanted, where.prefix)), *lists.other)
    return Compared(missing=_words(missing), extra=_words(beyond), other=other)


def _principal(name: str) -> str:
    return name if name.startswith("User:") else f"User:{name}"


def _words(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(
        f"{entry.principal} may {entry.right.operation} {entry.right.resource} {_name(entry)}" for entry in sorted(entries)
    )


def _name(entry: Entry) -> str:
    return f"{entry.right.name}*" if entry.right.prefixed else entry.right.name


def _say(found: Compared, *, made: bool, pruned: bool) -> None:
    for line in found.missing:
        click.echo(f"{'made' if made else 'missing'}: {line}")
    for line in found.extra:
        click.echo(f"{'removed' if pruned else 'extra'}: {line}")
    for line in found.other:
        click.echo(f"also there: {line}")
    if not found.missing and not found.extra:
        click.echo("access lists are as they should be")
    elif found.extra and not pruned:
        click.echo("what is extra is removed by: tidegate topics acl --apply --prune")


def _print(wanted: frozenset[Entry], form: str, home: Home) -> None:
    by_name = [(key, list(found)) for key, found in groupby(sorted(sorted(wanted), key=_order), _order)]
    rows = [
        {
            "principal": principal,
            "kind": str(kind),
            "name": name,
            "match": "prefix" if prefixed else "literal",
            "operations": [str(entry.right.operation) for entry in found],
        }
        for (principal, kind, name, prefixed), found in by_name
    ]
    if form == "json":
        dump(rows, "json")
    elif form == "table":
        click.echo("\n".join(table(rows)))
    else:
        bootstrap = home.settings.kafka.bootstrap or "BROKER:PORT"
        for row in rows:
            click.echo(_command(row, bootstrap))


def _order(entry: Entry) -> tuple[str, Resource, str, bool]:
    return entry.principal, entry.right.resource, entry.right.name, entry.right.prefixed


def _command(row: Mapping[str, object], bootstrap: str) -> str:
    """Return a row as a command of Kafka's own tool."""
    words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--command-config", "super.properties", "--add"]
    words += ["--allow-principal", str(row["principal"])]
    operations = row["operations"]
    assert isinstance(operations, list)  # noqa: S101 - made above
    for operation in operations:
        words += ["--operation", str(operation).title().replace("_", "")]
    if row["kind"] == Resource.CLUSTER:
        words.append("--cluster")
    else:
        words += [f"--{row['kind']}", str(row["name"])]
        words += ["--resource-pattern-type", "prefixed"] if row["match"] == "prefix" else []
    return shlex.join(words)
