"""Key document and enrolments on the topic ``keys`` (H3): published once, repeated harmlessly."""

from collections.abc import Iterator

from tidegate.ports import Log
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem

ENROLMENT_SUFFIX = ".enrolment.json"


def documents(home: Home) -> Iterator[tuple[str, bytes]]:
    """Return the documents of a home by their key on the topic: the root first, then the nodes by name."""
    yield str(home.trust.root_version), home.root.read_bytes()
    for path in sorted(home.keys.glob(f"*{ENROLMENT_SUFFIX}")):
        yield path.name.removesuffix(ENROLMENT_SUFFIX), path.read_bytes()


async def publish_keys(log: Log, home: Home) -> list[str]:
    """Append the documents that the topic does not hold yet; return their keys.

    Problem where the topic holds another key document of this version: two installations share a prefix.
    """
    reader = await log.reader(["keys"])
    try:
        held = {record.key: record.value for record in await reader.read_to_end()}
    finally:
        await reader.close()
    root = str(home.trust.root_version)
    if held.get(root) not in (None, home.root.read_bytes()):
        raise Problem(
            f"the topic keys holds another key document of version {root}: another installation uses this cluster",
            "give each its own kafka.prefix in config.yaml",
        )
    missing = [(key, value) for key, value in documents(home) if key not in held]
    for key, value in missing:
        await log.append("keys", key, value)
    return [key for key, _ in missing]
