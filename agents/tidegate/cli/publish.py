"""Key document and enrolments on the topic ``keys`` (H3): published once, repeated harmlessly."""

from collections.abc import Iterator

from tidegate.ports import Log
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.keys import version_of

ENROLMENT_SUFFIX = ".enrolment.json"


def documents(home: Home) -> Iterator[tuple[str, bytes]]:
    """Return the documents of a home by their key on the topic: the chain of roots, then the nodes by name."""
    newest = home.trust.root_version
    for version in range(1, newest):
        path = home.keys / f"root-{version}.json"
        if path.exists():
            yield str(version), path.read_bytes()
    yield str(newest), home.root.read_bytes()
    for path in sorted(home.keys.glob(f"*{ENROLMENT_SUFFIX}")):
        yield path.name.removesuffix(ENROLMENT_SUFFIX), path.read_bytes()


async def publish_keys(log: Log, home: Home) -> list[str]:
    """Append the documents that the topic does not hold yet; return their keys.

    Problem where the topic holds another key document of one version: two installations share a prefix.
    """
    reader = await log.reader(["keys"])
    try:
        held = {record.key: record.value for record in await reader.read_to_end()}
    finally:
        await reader.close()
    ours = list(documents(home))
    for key, value in ours:
        if version_of(key) and held.get(key) not in (None, value):
            raise Problem(
                f"the topic keys holds another key document of version {key}: another installation uses this cluster",
                "give each its own kafka.prefix in config.yaml",
            )
    missing = [(key, value) for key, value in ours if key not in held]
    for key, value in missing:
        await log.append("keys", key, value)
    return [key for key, _ in missing]
