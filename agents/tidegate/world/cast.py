"""Who takes part in a simulated fleet: their keys, and versions of a service whose names say what they are like.

Keys are made from names, so that a run can be told again to the byte.
"""

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.node.config import Kafka, Keys, NodeConfig, ServiceConfig
from tidegate.sim.protocol import Shape
from tidegate.wire.documents import Enrolment, KeyRole, Root, digest
from tidegate.wire.envelope import Signer, Trust, seal
from tidegate.wire.keys import trust_of
from tidegate.wire.plans import Artifact, ControlMode, Plan, Rollback, Stage
from tidegate.world.machine import Truth

FLEET = "sim"
SERVICE = "shop"
SUBJECT = "svc/shop"
DECIDERS = ("d1", "d2", "d3")
NODES = ("n1", "n2", "n3", "n4", "n5")
FIRST = "v0-good"
KINDS = ("good", "good", "good", "bad", "bad", "dead", "loop", "gone")
TRUTHS = {
    "good": Truth(),
    "bad": Truth(),
    "dead": Truth(starts=False),
    "loop": Truth(crashes_after_ms=600),
    "gone": Truth(fetched=False),
    "evil": Truth(),
}
"""What the last word of a version's name says of it; ``bad`` shows only to the judge, ``evil`` is in no plan."""


@cache
def signer(name: str) -> Signer:
    """Return the key of a name; anybody may know it, this is a simulation."""
    return Signer(name, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"sim {name}".encode()).digest()))


@cache
def trust() -> Trust:
    """Return what everybody trusts from the beginning."""
    return trust_of(root())


@cache
def root() -> Root:
    """Return the first key document."""
    keys = [signer(role).public(role) for role in (KeyRole.ROOT, KeyRole.OPERATOR, KeyRole.BREAKGLASS)]
    keys += [signer(name).public(KeyRole.DECISION) for name in DECIDERS]
    return Root(fleet=FLEET, version=1, keys=tuple(keys), issued_ms=0)


@cache
def enrolment(node: str) -> bytes:
    """Return the record that makes a node part of the fleet."""
    key = signer(node).public(KeyRole.NODE, node)
    return seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=0), signer("operator"))


def node_config(node: str) -> NodeConfig:
    """Return what a node's agent is told by its machine."""
    return NodeConfig(
        fleet=FLEET,
        node=node,
        kafka=Kafka(bootstrap="simulated"),
        keys=Keys(root="root.json", private="node.key"),
        state="state",
        services={SERVICE: ServiceConfig(executor="none")},
    )


def kind_of(version: str) -> str:
    """Return what a version is like, in a word."""
    return version.rpartition("-")[2]


def artifact(version: str) -> Artifact:
    """Return a version as a plan names it."""
    return Artifact(version=version, sha256=digest(version.encode()), uri=version)


def plan(name: str, version: str, settled: Artifact | None, shape: Shape, now_ms: int) -> Plan:
    """Return what an operator asks for: two stages, from what is settled to a version."""
    bake = f"{shape.bake_s}s"
    stages = (Stage(set_nodes=shape.first_nodes, bake=bake, min_requests=1), Stage(set_weight=100, bake=bake, min_requests=1))
    back = Rollback(artifact=settled, max_unavailable=shape.back_unavailable or None) if settled is not None else None
    return Plan(
        id=name,
        fleet=FLEET,
        service=SERVICE,
        artifact=artifact(version),
        rollback=back,
        stages=stages,
        control=ControlMode.RESTART if shape.control else ControlMode.NONE,
        max_unavailable=shape.max_unavailable,
        progress_deadline=f"{shape.deadline_s}s",
        watch="1s",
        expires_ms=now_ms + shape.lasts_s * 1_000,
    )
