"""deploy/systemd: what systemd says of the units, and every role started as they start it, at a socket as systemd's.

No systemd runs here, so what its sandbox forbids is tried only where the kernel takes it from a process: MemoryDenyWriteExecute.
"""

import asyncio
import configparser
import ctypes
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.cli.group import run

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
STARTED = {
    "tidegate@decide": "tidegate@.service",
    "tidegate@api": "tidegate@.service",
    "tidegate@notify": "tidegate@.service",
    "tidegate@bridge": "tidegate@.service",
    "tidegate-worker@intake": "tidegate-worker@.service",
    "tidegate-worker@judge": "tidegate-worker@.service",
    "tidegate-worker@experiment": "tidegate-worker@.service",
    "tidegate-node": "tidegate-node.service",
}
NO_NEW_PRIVILEGES = re.compile(
    "DynamicUser|LockPersonality|MemoryDenyWriteExecute|PrivateDevices|Protect(Clock|Hostname|Kernel.*)|SystemCall.*"
    "|Restrict(AddressFamilies|Namespaces|Realtime|SUIDSGID)"
)
"""What implies NoNewPrivileges for a unit of a user, and cannot be told not to (systemd.exec(5))."""
PR_SET_MDWE = 65
EXPOSURE_MAX = 2.0
WITHIN_S = 60


class Unit(configparser.RawConfigParser):
    """A unit file; of what is said twice the last counts, which is enough here."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string((UNITS / name).read_text())

    def __getattr__(self, key: str) -> str:
        return self["Service"][key]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing; install it (Debian, Ubuntu: apt install systemd)"
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units with an instance each, and the program where it is on this machine."""
    paths = []
    for name in [*STARTED, "tidegate.target"]:
        source = UNITS / STARTED.get(name, name)
        paths.append(tmp_path / (name if source.suffix == ".target" else f"{name}.service"))
        paths[-1].write_text(source.read_text().replace("/opt/tidegate/bin", f"{sys.prefix}/bin"))
    return paths


def test_systemd_finds_nothing_in_the_units(installed):
    found = analyze("verify", *installed)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_control_plane_is_locked_in(installed, say):
    for path in installed:
        if path.suffix == ".service":
            told = analyze("security", "--offline=yes", "--no-pager", path).stdout
            exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", told)[1])
            say(f"{path.stem}: exposure {exposure} of 10")
            assert exposure <= EXPOSURE_MAX or path.stem == "tidegate-node"


@pytest.mark.parametrize("name", sorted({*STARTED.values()}))
def test_every_unit_is_watched_and_is_tried_again(name):
    unit = Unit(name)
    assert (unit.Type, unit.WatchdogSec, unit.Restart, unit.User) == ("notify", "30s", "on-failure", "tidegate")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_end_of_the_agent_is_not_the_end_of_its_services():
    unit = Unit("tidegate-node.service")
    assert (unit.KillMode, unit.OOMPolicy, unit.TasksMax) == ("process", "continue", "infinity")
    assert unit.RuntimeDirectoryPreserve == "yes", "flag files are in it, which services read"
    assert not {"PrivateTmp", "MemoryMax"} & set(unit["Service"])


@pytest.mark.parametrize("name", sorted({*STARTED.values()}))
def test_setuid_programs_are_forbidden_to_the_control_plane_and_to_no_service_of_a_node(name):
    """Implied, it forbade the sudo that docs/deployment.md tells of, sendmail, and every program with file capabilities."""
    said = set(Unit(name)["Service"])
    implied = {one for one in said if NO_NEW_PRIVILEGES.fullmatch(one)}
    assert ("NoNewPrivileges" in said, bool(implied)) == (name != "tidegate-node.service",) * 2, implied


def test_sudo_finds_what_the_page_says_to_type():
    """Its secure_path does not have /opt."""
    typed = re.findall(r"^# sudo -u tidegate (\S+)", (ROOT / "docs" / "deployment.md").read_text(), re.MULTILINE)
    assert {*typed} == {"/opt/tidegate/bin/tidegate", "cp"}


def test_the_units_run_as_a_user_that_is_made():
    assert re.search(r"^u tidegate ", (UNITS / "tidegate.sysusers.conf").read_text(), re.MULTILINE)


@pytest.mark.kafka
@pytest.mark.parametrize(
    "name", [name if name == "tidegate@decide" else pytest.param(name, marks=pytest.mark.thorough) for name in STARTED]
)
async def test_systemd_hears_that_each_is_ready_alive_and_ends(name, connection, tmp_path):
    unit = Unit(STARTED[name])
    home, node = tmp_path / "home", tmp_path / "home" / "nodes" / "n1.yaml"
    made = ["init", "--node", "n1", "--bootstrap", connection.bootstrap, "--prefix", connection.prefix, "--publish"]
    assert await asyncio.to_thread(run, ["--home", str(home), *made]) == 0
    command = unit.ExecStart.replace("/opt/tidegate/bin", f"{sys.prefix}/bin").replace("%H", socket.gethostname())
    command = command.replace("%i", name.partition("@")[2]).replace("/etc/tidegate/node.yaml", str(node))
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(address := str(tmp_path / "notify"))
    told.setblocking(False)
    environment = {
        "PATH": os.environ["PATH"],
        "NOTIFY_SOCKET": address,
        "TIDEGATE_HOME": str(home),
        "TIDEGATE__NOTIFY__TARGETS": '[{"kind": "alertmanager", "url": "http://127.0.0.1:9"}]',
        "TIDEGATE__API": '{"port": 0, "sync": 0}',
        "TIDEGATE__BRIDGE": '{"port": 0}',
    }
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command), env=environment, preexec_fn=locked if "MemoryDenyWriteExecute" in unit["Service"] else None
    )
    try:
        with told:
            await heard(told, "READY=1")
            await heard(told, "WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            await heard(told, "STOPPING=1")
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def locked() -> None:
    """No memory that can be written and run, for this process and what it becomes."""
    assert ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0) == 0


async def heard(told: socket.socket, line: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while line not in (await asyncio.get_running_loop().sock_recv(told, 4096)).decode().splitlines():
            pass
