"""Who leads, as a judge of a simulated run reads it."""

import pytest
from msgspec.structs import replace

from tidegate.sim.protocol.authors import Authors
from tidegate.wire.documents import Claim
from tidegate.wire.envelope import seal
from tidegate.world import cast


def claim(epoch: int, key: str) -> bytes:
    return seal(Claim(fleet=cast.FLEET, epoch=epoch, life=f"{key}.2", read_to=0, issued_ms=0), cast.signer(key))


def root(version: int, *gone: str) -> bytes:
    keys = tuple(key for key in cast.root().keys if key.id not in gone)
    return seal(replace(cast.root(), version=version, keys=keys), cast.signer("root"))


@pytest.mark.parametrize(("claims", "leads"), [(("d1", "d2"), "d1.2"), (("d2", "d1"), "d2.2")])
def test_an_epoch_that_a_void_claim_names_is_not_led_by_whoever_claims_it_later(claims, leads):
    """Story 2482: the takeover of a key that was revoked meanwhile was on its way, and nobody else had acted in its epoch."""
    authors = Authors()
    authors.root(root(1))
    for key in claims:
        authors.claim(claim(2, key))
    authors.root(root(2, "d1"))
    assert authors.lives[2] == leads
    authors.claim(claim(3, "d3"))
    assert (authors.epoch, authors.life) == (3, "d3.2")
