"""``appspec.yml`` of a release, as the CodeDeploy agent reads it: version 0.0, os linux, files and hooks. What would not be done
here is refused, not passed over.
"""

import os
import pwd
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.node.config import SCRIPT_MOST_S
from tidegate.node.executors.unpack import Unusable
from tidegate.runtime.yaml_text import NotYaml, read_yaml
from tidegate.wire.codec import Malformed, convert

FILE = "appspec.yml"


class Event(StrEnum):
    """The lifecycle, in its order."""

    BEFORE_BLOCK_TRAFFIC = "BeforeBlockTraffic"
    AFTER_BLOCK_TRAFFIC = "AfterBlockTraffic"
    APPLICATION_STOP = "ApplicationStop"
    DOWNLOAD_BUNDLE = "DownloadBundle"
    BEFORE_INSTALL = "BeforeInstall"
    INSTALL = "Install"
    AFTER_INSTALL = "AfterInstall"
    APPLICATION_START = "ApplicationStart"
    BEFORE_ALLOW_TRAFFIC = "BeforeAllowTraffic"
    AFTER_ALLOW_TRAFFIC = "AfterAllowTraffic"
    VALIDATE_SERVICE = "ValidateService"


OF_THE_LAST = (Event.BEFORE_BLOCK_TRAFFIC, Event.AFTER_BLOCK_TRAFFIC, Event.APPLICATION_STOP)
"""These run the scripts of the last successful revision."""
OF_THE_AGENT = (Event.DOWNLOAD_BUNDLE, Event.INSTALL)
"""These have no scripts."""


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One script of a hook. ``timeout`` in seconds; ``runas`` another user, where the agent is root."""

    location: str
    timeout: Annotated[int, Meta(ge=1, le=SCRIPT_MOST_S)] = SCRIPT_MOST_S
    runas: str | None = None


class Copy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Install copies: a file of the release, or what a folder of it holds, into the folder ``destination``."""

    source: str
    destination: str


class AppSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    version: Annotated[float, Meta(ge=0, le=0)]
    os: Literal["linux"]
    files: tuple[Copy, ...] | None = ()
    hooks: dict[str, tuple[Script, ...] | None] | None = {}
    file_exists_behavior: Literal["OVERWRITE"] = "OVERWRITE"

    def scripts(self, event: Event) -> tuple[Script, ...]:
        """Return the scripts of an event, in their order."""
        return (self.hooks or {}).get(event.value) or ()


def read_appspec(release: Path) -> AppSpec:
    """Return the specification of a release; Unusable names the path in it and the remedy."""
    try:
        data = read_yaml(release / FILE)
        if isinstance(data, dict) and "permissions" in data:
            raise Unusable(f"{FILE}: permissions: not carried out here; set modes in the archive, or in an AfterInstall script")
        spec = convert(data, AppSpec)
    except FileNotFoundError as error:
        raise Unusable(f"there is no {FILE} at the top of the artifact; executor hooks needs an archive that has one") from error
    except Malformed as error:
        raise Unusable(f"{FILE}: {error.path or '(whole file)'}: {error.problem}") from error
    except (OSError, NotYaml) as error:
        raise Unusable(f"{FILE}: cannot be read: {error}") from error
    runnable = [event.value for event in Event if event not in OF_THE_AGENT]
    for name in spec.hooks or {}:
        if name not in runnable:
            raise Unusable(f"{FILE}: hooks.{name}: no scripts run for it; write one of {', '.join(runnable)}")
    for index, one in enumerate(spec.files or ()):
        if not Path(one.destination).is_absolute():
            raise Unusable(f"{FILE}: files[{index}].destination: {one.destination} is relative; write an absolute path")
        if not inside(release, one.source).exists():
            raise Unusable(f"{FILE}: files[{index}].source: {one.source} is not in the artifact")
    return spec


def prepare(release: Path) -> None:
    """Check everything that can be checked before anything is touched, and let scripts be executable; Unusable."""
    for name, scripts in (read_appspec(release).hooks or {}).items():
        for index, script in enumerate(scripts or ()):
            at = f"{FILE}: hooks.{name}[{index}]"
            path = inside(release, script.location)
            if not path.is_file():
                raise Unusable(f"{at}.location: ScriptMissing: {script.location} is not in the artifact")
            path.chmod(path.stat().st_mode | 0o111)
            _check_user(script.runas, at)


def inside(release: Path, name: str) -> Path:
    """Return the path of a name in a release; Unusable where it leads out. A leading slash is the release itself."""
    path = PurePosixPath(name.lstrip("/"))
    if ".." in path.parts:
        raise Unusable(f"{FILE}: {name} leads out of the release")
    return release / path


def _check_user(user: str | None, at: str) -> None:
    if user is None:
        return
    try:
        wanted = pwd.getpwnam(user)
    except KeyError as error:
        raise Unusable(f"{at}.runas: there is no user {user} on this node; make it, or take runas out") from error
    if os.geteuid() not in (0, wanted.pw_uid):
        me = pwd.getpwuid(os.geteuid()).pw_name
        raise Unusable(f"{at}.runas: the agent runs as {me} and cannot become {user}; run it as root, or take runas out")
