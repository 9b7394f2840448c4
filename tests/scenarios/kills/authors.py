"""Who was the author at each place of ``desired``, and what the authors have said there; told by signatures."""

from msgspec import Struct

from tidegate.wire.documents import Claim, Desired, Order, Roster, digest_of
from tidegate.wire.plans import Plan


class Said(Struct, frozen=True):
    """A command that counted where it first stood, and when it was read."""

    document: Desired
    digest: str
    at_ms: int


class Authors:
    """Claims, and what counted of what was said, in log order. One subject."""

    def __init__(self) -> None:
        self.epoch = 0
        self.life = ""
        self.key = ""
        """That signed the claim which won the epoch."""
        self.lives: dict[int, str] = {}
        """Epoch to the life that won it."""
        self.said: list[Said] = []
        """In order; each once."""
        self.plans: dict[str, Plan] = {}
        self.rosters: dict[str, Roster] = {}
        self._orders: dict[Order, str] = {}

    def claim(self, claim: Claim, key: str) -> None:
        """Take a claim: the first one of a higher epoch wins it (E2)."""
        if claim.epoch > self.epoch:
            self.epoch, self.life, self.key = claim.epoch, claim.life, key
            self.lives[claim.epoch] = claim.life

    def roster(self, roster: Roster) -> None:
        """Take a roster."""
        self.rosters[digest_of(roster)] = roster

    def command(self, document: Desired, at_ms: int) -> str:
        """Take a command of the author; return what is wrong with it. The same again changes nothing: it is a level."""
        name, order = digest_of(document), document.order
        before = self._orders.setdefault(order, name)
        if before != name:
            return f"order {text(order)} is said twice, and not the same"
        if any(said.digest == name for said in self.said):
            return ""
        if self.said and order <= self.said[-1].document.order:
            return f"order {text(order)} comes after {text(self.said[-1].document.order)}"
        self.said.append(Said(document, name, at_ms))
        return ""


def text(order: Order | None) -> str:
    """Return an order as people write it."""
    return f"{order.root_version}.{order.epoch}.{order.generation}" if order is not None else "no order"
