"""Who belongs where (A6): the rollout's context decides, the cohort that a row declares is shown and never used."""

from collections.abc import Iterable

from msgspec import Struct, field

from tidegate.wire.nodeseconds import Context

REST = "rest"


class Members(Struct, frozen=True):
    """Cohort by node, version by cohort; every other node is ``rest``. An empty version admits any."""

    cohorts: dict[str, str] = {}
    versions: dict[str, str] = field(default_factory=lambda: {REST: ""})

    def unnamed(self, nodes: Iterable[str]) -> list[str]:
        """Return those of some nodes that no cohort names."""
        return [node for node in nodes if node not in self.cohorts]

    def named(self, cohort: str) -> tuple[str, ...]:
        """Return the nodes that the context names for a cohort, sorted."""
        return tuple(sorted(node for node, name in self.cohorts.items() if name == cohort))


def members_of(context: Context | None) -> Members:
    """Return the members that a context defines; without one all nodes are rest, of any version (C7)."""
    if context is None:
        return Members()
    cohorts = {node: cohort.name for cohort in context.cohorts for node in cohort.nodes}
    versions = {cohort.name: cohort.version for cohort in context.cohorts}
    return Members(cohorts, {REST: context.rest_version} | versions)
