"""``tidegate init``: a home with keys, settings and node files. What is there stays as it is."""

import contextlib
import os
import re
import socket
import textwrap
import time
from pathlib import Path

import click
import yaml
from msgspec import to_builtins

from tidegate.broker import create_topics, knock
from tidegate.broker.local import free_ports
from tidegate.cli.connect import connection, open_log, run
from tidegate.cli.publish import ENROLMENT_SUFFIX, publish_keys
from tidegate.runtime.access import ROLE, Access
from tidegate.runtime.addresses import addresses
from tidegate.runtime.home import Home
from tidegate.runtime.keys import OFFLINE, ROLES, SUFFIX, make_key, make_root, new_passphrase, read_key
from tidegate.runtime.problem import Problem
from tidegate.runtime.settings import ApiSettings
from tidegate.runtime.trust import write_public
from tidegate.wire.documents import Enrolment, KeyRole
from tidegate.wire.envelope import seal
from tidegate.wire.keys import version_of

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")

FIRST_PORT = 8101
"""Node files come with an example whose port is no other node's."""

CONFIG = """\
# Settings of this installation. Every value can be overridden by a variable: TIDEGATE__KAFKA__PREFIX=other.
fleet: {fleet}
kafka:
  bootstrap: {bootstrap}   # null: `tidegate up` finds or starts a broker
  prefix: {prefix}
  # tls: {{ca: keys/ca.pem}}   # a broker that knows its clients: docs/security.md
  # sasl: {{user: "tidegate-{{role}}", password: "file:keys/{{role}}.password"}}
timings:
  heartbeat: 3s       # of the decision agent
  takeover: 9s        # silence after which another one takes over
http:                 # /metrics, /healthz, /readyz of each role; port 0: any free one, the log tells which
  host: 127.0.0.1
  intake: 0
  judge: 0
  experiment: 0
  decide: 0
  notify: 0
  api: 0
log:
  level: info
  format: auto        # json, console; auto: console on a terminal
notify:               # who is told of alarms; docs/alarms.md
  targets: []
  # - {{kind: alertmanager, url: "http://127.0.0.1:9093"}}
  # - {{kind: webhook, name: hook, url: "https://example.org/hook", secret: "file:keys/hook.secret"}}
  # - {{kind: apprise, name: chat, url: "file:keys/chat.url"}}
  # console: https://tidegate.example   # notices link there
api:                  # serves flags to clients of others; who may ask: tidegate api token NAME; docs/api.md
  host: 127.0.0.1
  port: {ofrep:<14}# OFREP over HTTP
  sync: {sync:<14}# flagd's sync over gRPC
  # flag_set: web     # of requests that name none
  # origins: ["https://shop.example"]   # web pages that may ask
"""

NODE = """\
# One node agent: tidegate node --config {path}
fleet: {fleet}
node: {name}
zone: {zone}
kafka:
  bootstrap: {bootstrap}   # TIDEGATE_BOOTSTRAP wins
  prefix: {prefix}
{access}keys:
  root: ../keys/root.json
  private: ../keys/node-{node}.key
state: ../state/{node}
metrics_port: 0
services: {{}}
# services:
#   shop:
#     executor: process
#     command: ["{{python}}", "{{artifact}}"]   # also {{version}}, {{config}}, {{listen}}
#     listen: 127.0.0.1:{port:<22}# opened by the agent, handed from version to version
#     readiness: notify                       # or {{http: "http://127.0.0.1:9101/ready"}}, {{tcp: "127.0.0.1:9101"}}
#     readyWithin: 10s
#     drain: 10s
"""


@click.command()
@click.option("--fleet", help="Name of the installation. [default: local]")
@click.option("--node", "named", multiple=True, metavar="NAME[=ZONE]", help="Enrol this local node; may be repeated.")
@click.option("--nodes", "number", type=click.IntRange(0, 1000), default=0, help="Enrol nodes node-1 to node-N.")
@click.option("--bootstrap", help="Your own cluster: host:port, comma separated. [default: `tidegate up` finds or starts one]")
@click.option("--prefix", help="Prefix of every topic. [default: tidegate.]")
@click.option("--passphrase", is_flag=True, help="Protect the keys of people (root, operator, break-glass) by a passphrase.")
@click.option("--publish", is_flag=True, help="Also create the topics and publish the keys now; fails where no broker answers.")
@click.pass_obj
def init(
    home: Home,
    fleet: str | None,
    named: tuple[str, ...],
    number: int,
    bootstrap: str | None,
    prefix: str | None,
    passphrase: bool,
    publish: bool,
) -> None:
    """Make keys, settings and node files; enrol local nodes. The settings say where `tidegate up` serves flags; who asks from
    elsewhere needs a token: `tidegate api token NAME`.

    What exists is never overwritten; running it again adds the nodes that are new.
    """
    nodes = _nodes(named, number)
    if bootstrap:
        addresses(bootstrap, "--bootstrap")
    fresh = not home.config.exists()
    if not fresh and not home.root.exists():
        raise Problem(
            f"{home.config} is there, and {home.root} is not: keys are made together with the settings",
            f"move {home.config} away, run init again, then put what it said into the one that is made; or copy the keys here",
            code=2,
        )
    if fresh:
        _make(home, fleet or "local", bootstrap, prefix or "tidegate.", protect=passphrase)
    else:
        _same(home, {"fleet": fleet, "bootstrap": bootstrap, "prefix": prefix})
    enrolled = [name for name, zone in nodes.items() if _enrol(home, name, zone)]
    click.echo(f"home {home.folder}: fleet {home.settings.fleet}{' made' if fresh else ', as it was'}")
    if fresh:
        click.echo(f"keep {' and '.join(f'{role}{SUFFIX}' for role in OFFLINE)} of {home.keys} elsewhere: no process needs them")
    if enrolled:
        click.echo(f"enrolled {', '.join(enrolled)}; name each one's services in {home.nodes}/<node>.yaml")
    click.echo(run(_publish(home, insist=publish)))


def _nodes(named: tuple[str, ...], number: int) -> dict[str, str]:
    nodes = {f"node-{index}": "" for index in range(1, number + 1)}
    for text in named:
        name, _, zone = text.partition("=")
        nodes[name] = zone
    for name in nodes:
        if not NAME.match(name) or version_of(name):
            raise Problem(
                f"--node {name!r} is no name of a node", "use letters, digits, . _ - (at most 100), and not digits alone", code=2
            )
    return nodes


def _same(home: Home, asked: dict[str, str | None]) -> None:
    """Refuse to make a home anew with other settings: its keys and topics belong to the ones it has."""
    settings = home.settings
    held = {"fleet": settings.fleet, "bootstrap": settings.kafka.bootstrap, "prefix": settings.kafka.prefix}
    for name, value in asked.items():
        if value is not None and value != held[name]:
            raise Problem(
                f"{home.folder} exists with {name} {held[name]}",
                f"edit {home.config}, or choose another folder for {value}: tidegate --home FOLDER init",
                code=2,
            )


def _make(home: Home, fleet: str, bootstrap: str | None, prefix: str, *, protect: bool) -> None:
    """Make keys and settings; the settings come last, so that a torn first run is noticed and can be repeated."""
    if not NAME.match(fleet):
        raise Problem(f"--fleet {fleet!r} is no name", "use letters, digits, . _ - (at most 100)", code=2)
    if home.keys.exists() and any(home.keys.iterdir()):
        raise Problem(f"{home.keys} holds keys, but {home.config} is missing", "put the settings back, or move the folder away")
    secret = new_passphrase() if protect else ""
    people = {*OFFLINE, KeyRole.OPERATOR}
    signers = {role: make_key(home.keys / f"{role}{SUFFIX}", secret if role in people else "") for role in ROLES}
    write_public(home.root, make_root(fleet, signers, _now_ms()))
    make_home(home, fleet, bootstrap, prefix)


def make_home(home: Home, fleet: str, bootstrap: str | None, prefix: str) -> None:
    """Make the folders and the settings of a home."""
    for folder in (home.folder, home.nodes, home.state, home.logs):
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), (home.folder / ".gitignore").open("x") as file:
        file.write("*\n")
    ofrep, sync = served_at()
    home.config.write_text(
        CONFIG.format(
            fleet=_text(fleet), bootstrap=_text(bootstrap) if bootstrap else "null", prefix=_text(prefix), ofrep=ofrep, sync=sync
        )
    )


def served_at() -> tuple[int, int]:
    """Return the ports of flags: those that flagd's clients ask by themselves; where somebody here has one of them, as a second
    home has, free ones.
    """
    own = ApiSettings()
    try:
        for port in (own.port, own.sync):
            socket.create_server((own.host, port)).close()
    except OSError:
        ofrep, sync = free_ports(2)
        return ofrep, sync
    return own.port, own.sync


def _enrol(home: Home, name: str, zone: str) -> bool:
    """Make a node's key, enrolment and file, where they are missing; return whether it was new."""
    path = home.nodes / f"{name}.yaml"
    enrolment = home.keys / f"{name}{ENROLMENT_SUFFIX}"
    key = home.keys / f"node-{name}{SUFFIX}"
    if path.exists() and enrolment.exists():
        return False
    signer = read_key(key) if key.exists() else make_key(key)
    public = signer.public(KeyRole.NODE, name)
    record = Enrolment(fleet=home.settings.fleet, node=name, key=public, issued_ms=_now_ms())
    enrolment.write_bytes(seal(record, home.signer(KeyRole.OPERATOR)))
    make_node_file(home, name, zone)
    return True


def make_node_file(home: Home, name: str, zone: str) -> None:
    """Write a node's file where there is none."""
    kafka, path = home.settings.kafka, home.nodes / f"{name}.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)  # settings may have been written by hand, and nothing else
        text = NODE.format(
            path=path,
            fleet=_text(home.settings.fleet),
            node=name,
            name=_text(name),
            zone=_text(zone),
            bootstrap=_text(kafka.bootstrap or "127.0.0.1:9092"),
            prefix=_text(kafka.prefix),
            access=_access(kafka.access),
            port=FIRST_PORT + len(list(home.nodes.glob("*.yaml"))),
        )
        path.write_text(text)


def _access(access: Access) -> str:
    """Return how a node's clients say who they are as the settings say it, seen from the folder of node files."""
    seen = access.of(ROLE, Path(os.pardir))
    parts = {name: to_builtins(part) for name, part in (("tls", seen.tls), ("sasl", seen.sasl)) if part is not None}
    said = {name: {key: value for key, value in part.items() if value is not None} for name, part in parts.items()}
    return textwrap.indent(yaml.safe_dump(said, sort_keys=False), "  ") if said else ""


async def _publish(home: Home, *, insist: bool) -> str:
    if not insist:
        try:
            home.bootstrap()
        except Problem:
            return "next: tidegate up (finds or starts a broker, publishes the keys, runs every role)"
        problem = await knock(connection(home, "admin"), 1.0)
        if problem is not None:
            return f"{problem.what}; the keys are published by: tidegate up, or tidegate init --publish"
    async with open_log(home, "init", "admin") as log:
        await create_topics(connection(home, "admin"))
        published = await publish_keys(log, home)
    return f"published {len(published)} documents to the topic keys" if published else "the topic keys is as it should be"


def _text(value: str) -> str:
    return yaml.safe_dump(value, default_style='"').strip()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
