"""The flags of all sets, folded from the records of the topic, one at a time: a change costs what the changed flag costs.

A record that cannot be used changes nothing: the definition before it stays. Signatures and order are looked at before a record
comes here.
"""

from collections.abc import Mapping

from tidegate.flags.rules import Rule, compiled
from tidegate.wire.codec import Malformed
from tidegate.wire.flags import (
    EVALUATORS,
    FLAGS_MAX,
    Bucketing,
    Metadata,
    State,
    TopicKey,
    bucketing_of,
    definition_of,
    evaluators_of,
    metadata_of,
)

SETS_MAX = 1_000


class Flag:
    """One flag, with the bytes that were published. Its rule is made ready when it is first asked for: a process holds all
    flags of a set and asks for a few.
    """

    __slots__ = ("_rule", "_targeting", "default_variant", "enabled", "key", "metadata", "value", "variants")

    def __init__(self, key: str, value: bytes) -> None:
        definition = definition_of(value)
        self.key = key
        self.value = value
        self.enabled = definition.state is State.ENABLED
        self.variants = definition.variants
        self.default_variant = definition.default_variant
        self.metadata = definition.metadata
        self._targeting = definition.targeting
        self._rule: Rule | None = None

    @property
    def rule(self) -> Rule | None:
        """Its targeting, ready to be evaluated; None where it has none."""
        targeting = self._targeting  # read once: another thread may be making it ready too
        if targeting:
            self._rule, self._targeting = compiled(targeting), None
        return self._rule


class FlagSet:
    """The flags of one set, its shared rules and its metadata. Read it, evaluate it; ``Flags`` changes it."""

    def __init__(self, set_id: str) -> None:
        self.set_id = set_id
        self.flags: dict[str, Flag] = {}
        self.metadata: Metadata = {}
        self.bucketing = Bucketing.V2
        self.evaluators: Mapping[str, Rule] = {}
        self.evaluators_value = b"{}"
        """Shared rules as they were published."""


class Flags:
    """All sets, by their ids.

    >>> flags = Flags()
    >>> dark = b'{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"}'
    >>> flags.put(TopicKey("web", "dark"), dark)
    >>> flags.sets["web"].flags["dark"].default_variant
    'off'
    """

    def __init__(self) -> None:
        self.sets: dict[str, FlagSet] = {}

    def put(self, key: TopicKey, value: bytes | None) -> None:
        """Fold one record; None is a tombstone. Malformed, and nothing changed, where the record cannot be used."""
        found = self.sets.get(key.set_id)
        if found is None:
            if value is None:
                return
            if len(self.sets) >= SETS_MAX:
                raise Malformed(str(key), f"{SETS_MAX} sets are held already")
            found = FlagSet(key.set_id)
        if key.is_flag:
            _put_flag(found, key.name, value)
        elif key.name == EVALUATORS:
            _put_evaluators(found, value or b"{}")
        else:
            found.metadata = metadata_of(value or b"{}")
            found.bucketing = bucketing_of(found.metadata)
        self.sets[key.set_id] = found


def _put_flag(found: FlagSet, name: str, value: bytes | None) -> None:
    if value is None:
        found.flags.pop(name, None)
        return
    if name not in found.flags and len(found.flags) >= FLAGS_MAX:
        raise Malformed(name, f"set {found.set_id} holds {FLAGS_MAX} flags already")
    found.flags[name] = Flag(name, value)


def _put_evaluators(found: FlagSet, value: bytes) -> None:
    rules = evaluators_of(value)
    found.evaluators = {name: compiled(rule) for name, rule in rules.items()}
    found.evaluators_value = value
