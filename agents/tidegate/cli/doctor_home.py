"""What stands on this machine: settings, keys, node files, secrets and certificates, room on the disk. Needs no broker."""

import os
import shutil
import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from tidegate.cli.doctor_finding import DAY_MS, Finding, problem, told, warning
from tidegate.node import ConfigError, load_config
from tidegate.node.config import NodeConfig, load_signer, load_trust
from tidegate.runtime.access import Access
from tidegate.runtime.home import Home
from tidegate.runtime.keys import OFFLINE, SUFFIX, read_key
from tidegate.runtime.problem import Problem
from tidegate.runtime.trust import read_guarded
from tidegate.wire.acls import PRINCIPALS, Principal
from tidegate.wire.codec import Malformed
from tidegate.wire.envelope import Refused, Trust
from tidegate.wire.keys import trust_of, unseal_root

CERTIFICATE_DAYS_LEFT = 30
FREE_BYTES_LEAST = 256 << 20
FREE_BYTES_LOW = 2 << 30
OF_NODES = "node-"
"""Such keys stand in no key document; they are looked at with their nodes' files."""


def home_findings(home: Home, now_ms: int) -> list[Finding]:
    """Return what is wrong on this machine. Problem where there are no settings to begin with."""
    home.settings  # noqa: B018 - refuse a folder that is no home
    nodes = dict(_nodes(home))
    return [
        *_keys(home),
        *(found for _, (_, findings) in nodes.items() for found in findings),
        *_secrets(home),
        *_certificates(_files_in(home, [config for config, _ in nodes.values() if config is not None]), now_ms),
        *_disk({home.folder, *(Path(config.state) for config, _ in nodes.values() if config is not None)}),
    ]


def roles_here(home: Home) -> list[Principal]:
    """Return the roles that can come to the broker from this home: those whose password and certificate are here."""
    access = home.settings.kafka.access

    def is_here(role: Principal) -> bool:
        of = access.of(role, home.folder)
        kind, _, name = of.sasl.password.partition(":") if of.sasl is not None else ("", "", "")
        known = {"file": Path(name).exists(), "env": name in os.environ}.get(kind, True)
        shown = of.tls.certificate if of.tls is not None else None
        return known and (shown is None or Path(shown).exists())

    return [role for role in PRINCIPALS if is_here(role)]


def _keys(home: Home) -> Iterator[Finding]:
    try:
        trust = home.trust
    except Problem as said:
        yield told("keys", said)
        return
    yield from _chain(home, trust)
    for path in sorted(home.keys.glob(f"*{SUFFIX}")):
        if not path.stem.startswith(OF_NODES):
            yield from _key(path, trust)
    near = [f"{key.id}{SUFFIX}" for key in trust.keys.values() if key.role in OFFLINE]
    near = [name for name in near if (home.keys / name).exists()]
    if near:
        yield warning("keys", f"{' and '.join(near)} in {home.keys}: no process needs them", "move them off this machine")


def _chain(home: Home, newest: Trust) -> Iterator[Finding]:
    """Follow the key documents that the home keeps, from the first one."""
    trust: Trust | None = None
    for version in range(1, newest.root_version + 1):
        path = home.root if version == newest.root_version else home.keys / f"root-{version}.json"
        if not path.exists():
            trust = None
            yield warning(
                "keys", f"{path} is missing: who was installed with an older one cannot follow", "copy it from another home"
            )
            continue
        try:
            trust = trust_of(unseal_root(path.read_bytes(), trust))
        except (Malformed, Refused) as error:
            yield problem("keys", f"{path} does not follow from the one before: {error}", "restore it from a copy")
            return


def _key(path: Path, trust: Trust) -> Iterator[Finding]:
    try:
        data = read_guarded(path, 0o077, "is a private key and others can read it", f"chmod 600 {path}")
        if data.lstrip().startswith(b"{"):
            return  # under a passphrase: only its owner can look further
        public = read_key(path)
    except Problem as said:
        yield told("keys", said)
        return
    named = trust.keys.get(path.stem)
    if named is None:
        yield warning("keys", f"{path} is no key of version {trust.root_version}: it counts for nothing", "remove it")
    elif public.public(named.role).public != named.public:
        yield problem("keys", f"{path} is not the key of that name in {path.with_name('root.json')}", "restore it, or rotate it")


def _nodes(home: Home) -> Iterator[tuple[str, tuple[NodeConfig | None, list[Finding]]]]:
    for path in sorted(home.nodes.glob("*.yaml")):
        try:
            config = load_config(path)
        except ConfigError as said:
            yield path.stem, (None, [told("node file", said)])
            continue
        yield path.stem, (config, list(_node(path, config, home)))


def _node(path: Path, config: NodeConfig, home: Home) -> Iterator[Finding]:
    alike = Path(config.keys.root).exists() and Path(config.keys.root).samefile(home.root)
    for load in (load_signer,) if alike or not home.root.exists() else (load_signer, load_trust):
        try:
            load(config)
        except Problem as said:
            yield told(f"node {config.node}", said)
    try:
        config.kafka.access.of("node", Path()).arguments()
    except Problem as said:
        yield told(f"node {config.node}", said)
    if config.kafka.prefix != home.settings.kafka.prefix:
        yield problem(
            f"node {config.node}",
            f"{path}: kafka.prefix is {config.kafka.prefix!r}, the home's {home.settings.kafka.prefix!r}",
            "write the same prefix in both",
        )


def _secrets(home: Home) -> Iterator[Finding]:
    access = home.settings.kafka.access
    roles = roles_here(home)
    if not roles:
        missing = access.of("operator", home.folder)
        where = missing.sasl.password if missing.sasl is not None else missing.tls and missing.tls.certificate
        yield problem(
            "secrets", f"no role has a password or certificate here, such as {where}", "put there what the broker knows"
        )
    said = set()
    for role in roles:
        try:
            access.of(role, home.folder).arguments()
        except Problem as fault:
            if str(fault) not in said:
                said.add(str(fault))
                yield told("secrets", fault)


def _files_in(home: Home, nodes: list[NodeConfig]) -> set[Path]:
    access = [home.settings.kafka.access.of(role, home.folder) for role in roles_here(home)]
    access += [config.kafka.access.of("node", Path()) for config in nodes]
    return {Path(name) for one in access for name in _certificates_of(one)}


def _certificates_of(access: Access) -> list[str]:
    tls = access.tls
    return [name for name in (tls.ca, tls.certificate) if name is not None] if tls is not None else []


def _certificates(paths: set[Path], now_ms: int) -> Iterator[Finding]:
    for path in sorted(paths):
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):
            continue  # told where it is used
        # A list of authorities holds old ones: it is over when none is left.
        ends = max(one.not_valid_after_utc for one in found)
        yield from expiry(f"the certificate in {path}", ends, now_ms, "renew it; docs/security.md")


def expiry(whose: str, ends: datetime, now_ms: int, remedy: str) -> Iterator[Finding]:
    """Yield what to say of a certificate that has ended or will soon."""
    left_ms = ends.timestamp() * 1_000 - now_ms
    if left_ms <= 0:
        yield problem("certificate", f"{whose} ended on {ends:%Y-%m-%d}", remedy)
    elif left_ms < CERTIFICATE_DAYS_LEFT * DAY_MS:
        yield warning("certificate", f"{whose} ends on {ends:%Y-%m-%d}, in {left_ms / DAY_MS:.0f} days", remedy)


def ends_of(ssl_object: ssl.SSLObject) -> datetime:
    """Return when the certificate ends that a broker showed."""
    shown = ssl_object.getpeercert(binary_form=True)
    assert shown is not None  # noqa: S101 - a handshake that checks the other side has one
    return x509.load_der_x509_certificate(shown).not_valid_after_utc


def _disk(folders: set[Path]) -> Iterator[Finding]:
    seen = set()
    for folder in sorted(one for one in folders if one.exists()):
        if (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        yield from room(folder, shutil.disk_usage(folder).free)


def room(folder: Path, free_bytes: int) -> Iterator[Finding]:
    """Yield what to say of the room that is left: a node persists before it acts, and acts no more on a full disk (F1)."""
    if free_bytes < FREE_BYTES_LOW:
        level = problem if free_bytes < FREE_BYTES_LEAST else warning
        yield level("disk", f"{free_bytes / 1e9:.2f} GB are free where {folder} is", "make room, or move the home")
