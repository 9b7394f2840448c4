"""Trust after a record of ``keys``: a newer key document, or the enrolment of a node (H3)."""

from tidegate.wire.documents import Enrolment
from tidegate.wire.envelope import Trust, trust_of, unseal, unseal_root


def trust_after(trust: Trust, key: str, value: bytes) -> Trust:
    """Return the trust after one record. Raises Malformed or Refused where it does not count.

    A key document replaces the keys of the fleet and keeps the enrolled nodes; one that is not newer changes nothing.
    """
    if not key.isdigit():
        return trust.with_enrolment(unseal(value, Enrolment, trust)[0])
    if int(key) <= trust.root_version:
        return trust
    root = trust_of(unseal_root(value, trust))
    nodes = {name: one for name, one in trust.keys.items() if one.node}
    return Trust(root.fleet, root.root_version, root.keys | nodes)
