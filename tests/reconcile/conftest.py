"""Values of one rollout, shared by the tables of this folder."""

import hashlib

import pytest

from tidegate.reconcile.accept import Arrived
from tidegate.wire.documents import Claim, Cohort, Desired, KeyRole, Move, Phase, PublicKey, Roster, digest, digest_of
from tidegate.wire.plans import Artifact, Plan, Rollback, Stage
from tidegate.wire.reasons import Reason

SUBJECT = "svc/shop"
NODES = tuple(f"n{index}" for index in range(8))


class Kit:
    """Builders with defaults: a test names only what it is about."""

    SUBJECT = SUBJECT
    NODES = NODES
    KEY = PublicKey(id="decision", role=KeyRole.DECISION, public="0" * 64)
    OTHER_KEY = PublicKey(id="other", role=KeyRole.DECISION, public="1" * 64)
    BREAKGLASS = PublicKey(id="glass", role=KeyRole.BREAKGLASS, public="2" * 64)

    @staticmethod
    def artifact(version: str, **changes) -> Artifact:
        return Artifact(
            **({"version": version, "sha256": hashlib.sha256(version.encode()).hexdigest(), "uri": version} | changes)
        )

    @classmethod
    def plan(cls, *, first: bool = False, **changes) -> Plan:
        fields = {
            "id": "r",
            "fleet": "test",
            "service": "shop",
            "artifact": cls.artifact("2"),
            "rollback": None if first else Rollback(artifact=cls.artifact("1")),
            "stages": (Stage(set_nodes=1), Stage(set_weight=50), Stage(set_weight=100)),
            "expires_ms": 1 << 42,
        }
        return Plan(**(fields | changes))

    @staticmethod
    def plan_digest(plan: Plan) -> str:
        return digest_of(plan)

    @staticmethod
    def roster() -> Roster:
        return Roster(fleet="test", subject=SUBJECT, rollout="r.1", nodes=NODES)

    @staticmethod
    def canary(count: int = 1, version: str = "2", token: str = "", first: int = 0) -> Cohort:
        return Cohort(name="canary", first=first, count=count, version=version, token=token)

    @staticmethod
    def control(first: int = 1, count: int = 1, version: str = "1", token: str = "") -> Cohort:
        return Cohort(name="control", first=first, count=count, version=version, token=token)

    @classmethod
    def desired(cls, generation: int = 1, epoch: int = 1, plan: Plan | None = None, **changes) -> Desired:
        plan = plan or cls.plan()
        fields = {
            "fleet": "test",
            "subject": SUBJECT,
            "service": "shop",
            "root_version": 1,
            "epoch": epoch,
            "generation": generation,
            "phase": Phase.RUNNING,
            "move": Move.ADVANCE,
            "reason": Reason.STARTED,
            "plan_digest": cls.plan_digest(plan),
            "roster_digest": digest_of(cls.roster()),
            "rollout": "r.1",
            "cohorts": (cls.canary(),),
            "settled": plan.rollback.artifact if plan.rollback else None,
        }
        return Desired(**(fields | changes))

    @classmethod
    def claim(cls, epoch: int = 1, signer: PublicKey | None = None) -> Arrived:
        claim = Claim(fleet="test", epoch=epoch, life=f"life{epoch}", read_to=0, issued_ms=0)
        return Arrived(key=f"claim/{epoch}/life{epoch}", document=claim, signer=signer or cls.KEY, digest=digest_of(claim))

    @classmethod
    def arrived(cls, document, key: str = "", signer: PublicKey | None = None) -> Arrived:
        where = {Plan: f"plan/{SUBJECT}", Roster: f"roster/{SUBJECT}", Desired: SUBJECT}[type(document)]
        return Arrived(key=key or where, document=document, signer=signer or cls.KEY, digest=digest_of(document))

    digest = staticmethod(digest)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
