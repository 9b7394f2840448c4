"""From a plan file to a plan: measures local artifacts, fills in what the file may leave out, names every fault."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate.cli.yaml_file import faulty, load
from tidegate.runtime.faults import Fault, faults_of
from tidegate.runtime.problem import Problem
from tidegate.wire.plans import Artifact, Plan, Rollback, faults

CHUNK_BYTES = 1 << 20
HARMLESS: dict[str, Any] = {
    "id": "none",
    "fleet": "none",
    "service": "none",
    "artifact": {"version": "none", "sha256": "0" * 64},
    "stages": [{"setWeight": 100}],
    "expiresMs": 0,
}
ARTIFACT_WORDS = ("path", "uri", "sha256", "sizeBytes")
CONFIG_WORDS = ("configPath", "configUri", "configSha256", "")


class Given(Struct, frozen=True, kw_only=True):
    """What the command line knows beside the file."""

    fleet: str
    now_ms: int
    expires_ms: int
    actor: str
    reason: str | None = None
    """Wins over the file's."""


class Draft(Struct, frozen=True, kw_only=True):
    """A plan that is whole but for its rollback target, where the file leaves that to the ledger."""

    path: Path
    plan: Plan
    retreat_share: str | None = None
    """``rollback.maxUnavailable`` of a file that names no target."""


def read_plan(path: Path, given: Given) -> Draft:
    """Return the plan in a file.

    ``artifact.path``, or a ``uri`` that is a local file, is measured: sha256 and size need not be written. Problem (code 2)
    names every fault with its path.
    """
    raw = _load(path)
    found: list[Fault] = []
    for at, artifact in _artifacts(raw):
        found += _measure(artifact, at, path.parent)
    _complete(raw, given)
    target, share = raw.get("rollback"), None
    if isinstance(target, dict) and set(target) <= {"maxUnavailable"}:
        share = target.get("maxUnavailable")
        del raw["rollback"]
        found += [(f"rollback.{at}", what) for at, what in faults_of(target, Rollback) if at != "artifact"]
    wrong = faults_of(raw, Plan)
    found += wrong + faults(_sound_part(raw, wrong))
    if found:
        raise problem(path, found)
    return Draft(path=path, plan=msgspec.convert(raw, Plan), retreat_share=share)


def _sound_part(raw: Mapping[Any, Any], wrong: list[Fault]) -> Plan:
    """Return the file as a plan, with a harmless value in place of each part that has the wrong form.

    So what a person must mend is told at once, not form first and sense later.
    """
    blamed = {re.split(r"[.\[]", at, maxsplit=1)[0] for at, _ in wrong}
    sound = {name: part for name, part in raw.items() if isinstance(name, str) and name not in blamed}
    return msgspec.convert(HARMLESS | sound, Plan)


def with_target(draft: Draft, settled: Artifact | None) -> Plan:
    """Return the plan with the settled version as its rollback target, where it names none (H2). Problem as above.

    Where nothing is settled it is the first plan of its service and has no target (B7).
    """
    plan = draft.plan
    if settled is None or plan.rollback is not None:
        return plan
    if settled.version == plan.artifact.version:
        raise problem(
            draft.path, [("artifact.version", f"{settled.version} is what runs now; give the new version another name")]
        )
    return replace(plan, rollback=Rollback(artifact=settled, max_unavailable=draft.retreat_share))


def problem(path: Path, found: list[Fault]) -> Problem:
    """Return the problem that a plan's faults are."""
    return faulty(path, found, "nothing was started", "mend the file and start again")


def _load(path: Path) -> dict[str, Any]:
    raw = load(path, "plan")
    if not isinstance(raw, dict):
        raise problem(path, [("", "expected service, artifact and stages")])
    return raw


def _complete(raw: dict[str, Any], given: Given) -> None:
    artifact = raw.get("artifact")
    version = artifact.get("version", "") if isinstance(artifact, dict) else ""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{raw.get('service', '')}-{version}").lstrip("._-") or "plan"
    raw.setdefault("id", f"{name[:100]}-{given.now_ms // 1000:x}{secrets.token_hex(2)}")
    raw.setdefault("fleet", given.fleet)
    raw.setdefault("issuedMs", given.now_ms)
    raw.setdefault("expiresMs", given.expires_ms)
    raw.setdefault("actor", given.actor)
    if given.reason is not None:
        raw["reason"] = given.reason
    stages = raw.get("stages")
    for place in [raw, raw.get("rollback"), *(stages if isinstance(stages, list) else [])]:
        if isinstance(place, dict) and type(place.get("maxUnavailable")) is int:
            place["maxUnavailable"] = str(place["maxUnavailable"])


def _artifacts(raw: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    rollback = raw.get("rollback")
    places = [
        ("artifact", raw.get("artifact")),
        ("rollback.artifact", rollback.get("artifact") if isinstance(rollback, dict) else None),
    ]
    return [(at, place) for at, place in places if isinstance(place, dict)]


def _measure(artifact: dict[str, Any], at: str, folder: Path) -> list[Fault]:
    """Fill in digest and size of an artifact and of its configuration; ``path`` and ``configPath`` become addresses."""
    found: list[Fault] = []
    for words in (ARTIFACT_WORDS, CONFIG_WORDS):
        if words is ARTIFACT_WORDS or artifact.get(words[0]) or artifact.get(words[1]):
            faults_here = _measure_one(artifact, at, folder, words)
            if faults_here:
                # The fault is told; that the digest is missing follows from it.
                artifact.setdefault(words[2], "0" * 64)
            found += faults_here
    return found


def _measure_one(artifact: dict[str, Any], at: str, folder: Path, words: tuple[str, str, str, str]) -> list[Fault]:
    path_word, uri_word, sha_word, size_word = words
    path, uri = artifact.pop(path_word, None), artifact.get(uri_word)
    word = path_word if path else uri_word
    if not isinstance(path or "", str) or not isinstance(uri or "", str):
        return [(f"{at}.{word}", "expected text")]
    try:
        where = path or _local(uri or "")
    except ValueError as error:
        return [(f"{at}.{word}", f"is no address: {error}")]
    if not where:
        if sha_word in artifact:
            return []
        if uri:
            return [(f"{at}.{sha_word}", f"is missing; give the sha256 of {uri} (local files are measured)")]
        return [(f"{at}.{path_word}", f"is missing; name the file, or give {uri_word} and {sha_word}")]
    file = folder / where
    try:
        sha256, size_bytes = _digest(file)
    except (OSError, ValueError) as error:
        return [(f"{at}.{word}", f"{str(file)!r}: {getattr(error, 'strerror', error)}")]
    artifact[uri_word] = uri if path and uri else str(file.absolute())
    if size_word:
        artifact.setdefault(size_word, size_bytes)
    if artifact.setdefault(sha_word, sha256) != sha256:
        return [(f"{at}.{sha_word}", f"{file} is {sha256}")]
    return []


def _local(uri: str) -> str:
    """Return the path that an address names on this machine; empty: none."""
    parts = urlsplit(uri)
    return parts.path if parts.scheme == "file" else "" if parts.scheme in ("http", "https") else uri


def _digest(file: Path) -> tuple[str, int]:
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest(), file.stat().st_size
