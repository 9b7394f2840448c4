"""Executor ``hooks``: names, order, environment, kinds of error and whose scripts run are the CodeDeploy agent's."""

import asyncio
import getpass
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from tests.node.benches import HooksBench
from tests.node.kit import until
from tests.node.released import artifact_of, command_lines, tarred, zipped

from tidegate.node import StartFailed, StopFailed
from tidegate.node.executors.appspec import Event, prepare
from tidegate.node.executors.commands import Commands, Order
from tidegate.node.executors.unpack import Unusable
from tidegate.ports import SystemClock, SystemDisk

SCRIPTED = [event.value for event in Event if event not in (Event.INSTALL, Event.DOWNLOAD_BUNDLE)]
SAY = '#!/bin/sh\necho "$LIFECYCLE_EVENT {version} $(cat {installed}/page 2>/dev/null)" >>{said}\n'
ORDER = [
    *("BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"),
    *("BeforeInstall", "AfterInstall", "ApplicationStart", "BeforeAllowTraffic", "AfterAllowTraffic", "ValidateService"),
]


class Bench(HooksBench):
    """Revisions whose every hook says in a file that it ran."""

    changes: dict = {}  # noqa: RUF012 - given before it is made

    def service(self):
        super().service()
        return self.unit.hooks(**({"readiness": "notify", "status": []} | self.changes))

    @property
    def said_file(self) -> Path:
        return self.folder / "said"

    def said(self) -> list[str]:
        """Return what was said since this was last asked."""
        lines = self.said_file.read_text().splitlines() if self.said_file.exists() else []
        self.said_file.unlink(missing_ok=True)
        return [line.strip() for line in lines]

    def revision(self, version: str, scripts: dict[str, str] | None = None, *, timeout: int = 5, **more):
        filled = SAY.format(version=version, said=self.said_file, installed=self.folder / "www")
        files = {f"{event}.sh": filled for event in SCRIPTED} | {"page": f"page {version}", f"only-{version}": "x"}
        files |= {f"{event}.sh": f"#!/bin/sh\n{text}\n" for event, text in (scripts or {}).items()}
        hooks = {event: [{"location": f"{event}.sh", "timeout": timeout}] for event in SCRIPTED}
        copies = [
            {"source": "page", "destination": f"{self.folder}/www"},
            {"source": f"only-{version}", "destination": f"{self.folder}/www"},
        ]
        spec = {"version": 0.0, "os": "linux", "files": copies, "hooks": hooks} | more
        return tarred(self.folder, version, files | {"appspec.yml": yaml.safe_dump(spec)})


@pytest.fixture
async def bench(tmp_path, request, monkeypatch):
    monkeypatch.setattr("tidegate.node.executors.commands.GRACE_S", 0.3)
    monkeypatch.setattr(Bench, "changes", getattr(request, "param", {}))
    return Bench(tmp_path)


def damaged_zip(bench, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("appspec.yml", "version: 0.0\nos: linux\n" * 200)
    data = bytearray(path.read_bytes())
    data[41:60] = b"\xff" * 19
    path.write_bytes(data)


def holding(*names: str, spec: str = "version: 0.0\nos: linux\nfiles: [{source: /, destination: %s/www}]\n"):
    def write(bench, path: Path) -> None:
        with tarfile.open(path, "w:gz") as archive:
            for name in ("appspec.yml", *names):
                data = (spec.replace("%s", str(bench.folder)) if name == "appspec.yml" else "").encode()
                info = tarfile.TarInfo(name)
                info.type, info.size = (tarfile.DIRTYPE, 0) if name.endswith("/") else (tarfile.REGTYPE, len(data))
                archive.addfile(info, io.BytesIO(data))

    return write


async def test_a_script_that_a_real_time_signal_ends_is_a_script_that_failed(bench):
    executor = await bench.life()
    with pytest.raises(StartFailed, match=r"ScriptFailed: .*ended by signal SIG35"):
        await bench.launch(executor, bench.revision("1", {"BeforeInstall": "kill -35 $$"}))
    await executor.close()


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("2.zip", damaged_zip, "cannot be made a release"),
        ("2.tar.gz", holding(*("d/" * depth for depth in range(1, 1_001))), "more than 100 folders deep"),
        ("2.tar.gz", holding(spec="version: 0.0\nos: linux\nhooks: {x: 2024-99-99}\n"), "appspec.yml: cannot be read: month"),
        ("2.tar.gz", holding(spec="[" * 5_000), "appspec.yml: cannot be read"),
        ("2.tar.gz", holding("caf\udce9"), "2 was not started: UnicodeEncodeError"),
    ],
)
async def test_an_artifact_that_nobody_foresaw_is_a_start_that_failed_and_what_ran_runs(bench, name, write, said):
    executor = await bench.life()
    await bench.launch(executor, bench.revision("1"))
    write(bench, bench.folder / name)
    with pytest.raises(StartFailed, match=said) as told:
        await bench.launch(executor, artifact_of(bench.folder / name, "2"))
    assert len(str(told.value)) < 1_000
    assert executor.running("shop").artifact.version == "1"
    await executor.close()


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ({"location": "ApplicationStop.sh", "runas": "somebody-who-left"}, "there is no user somebody-who-left"),
        ({"location": "../stop.sh"}, "leads out"),
    ],
)
async def test_an_appspec_that_was_spoilt_since_is_a_stop_that_failed_and_keeps_no_revision_from_coming_back(bench, hook, said):
    executor = await bench.life()
    await bench.launch(executor, bench.revision("1"))
    appspec = next(bench.unit.folder.glob("releases/1-*/appspec.yml"))
    spec = yaml.safe_load(appspec.read_text())
    appspec.write_text(yaml.safe_dump(spec | {"hooks": spec["hooks"] | {"ApplicationStop": [hook]}}))
    with pytest.raises(StopFailed, match=said):
        await executor.stop("shop")
    with pytest.raises(StartFailed, match=said):
        await bench.launch(executor, bench.revision("2"))
    assert executor.running("shop").artifact.version == "1"
    await executor.close()


@pytest.fixture
async def executor(bench):
    executor = await bench.life()
    yield executor
    await executor.close()


async def test_the_order_is_codedeploys_and_what_stops_is_of_the_last_revision(bench, executor):
    await bench.launch(executor, bench.revision("1"))
    expected = [f"{event} 1" + (" page 1" if event != "BeforeInstall" else "") for event in ORDER[3:]]
    assert bench.said() == expected, "nothing ran before: nothing is stopped"
    await bench.launch(executor, bench.revision("2"))
    assert bench.said() == [
        *(f"{event} 1 page 1" for event in ORDER[:3]),
        "BeforeInstall 2 page 1",
        *(f"{event} 2 page 2" for event in ORDER[4:]),
    ]
    await executor.stop("shop")
    assert bench.said() == [f"{event} 2 page 2" for event in ORDER[:3]]


async def test_install_copies_takes_away_what_is_no_more_and_is_measured(bench, executor):
    www = bench.folder / "www"
    await bench.launch(executor, bench.revision("1"))
    artifact = bench.revision("2")
    await bench.launch(executor, artifact)
    assert {one.name for one in www.iterdir()} == {"page", "only-2"}
    assert await executor.measure("shop") == artifact.sha256
    (www / "page").write_text("by hand")
    assert await executor.measure("shop") == ""


async def test_modes_that_a_hook_sets_are_no_change_by_hand(bench, executor):
    artifact = bench.revision("1", {"AfterInstall": f"chmod 755 {bench.folder}/www/page; chmod 600 {bench.folder}/www/only-1"})
    await bench.launch(executor, artifact)
    assert await executor.measure("shop") == artifact.sha256
    (bench.folder / "www/page").write_text("by hand")
    assert await executor.measure("shop") == ""


async def test_a_whole_release_can_be_copied_with_its_links(bench, executor):
    files = {"appspec.yml": "", "deep/er/file": "x", "run": "#!/bin/sh\n"}
    spec = {"version": 0.0, "os": "linux", "files": [{"source": "/", "destination": f"{bench.folder}/all"}]}
    await bench.launch(executor, tarred(bench.folder, "1", files | {"appspec.yml": yaml.safe_dump(spec)}))
    assert (bench.folder / "all/deep/er/file").read_text() == "x"
    assert os.access(bench.folder / "all/run", os.X_OK)
    assert not (bench.folder / "all/.tidegate").exists()


async def test_scripts_are_told_what_codedeploy_tells_and_where_they_are(bench, executor):
    await bench.launch(executor, bench.revision("1", {"ApplicationStart": f"env >{bench.folder}/env; pwd >{bench.folder}/at"}))
    told = dict(line.split("=", 1) for line in (bench.folder / "env").read_text().splitlines() if "=" in line)
    launched = executor.running("shop")
    assert (told["LIFECYCLE_EVENT"], told["DEPLOYMENT_ID"]) == ("ApplicationStart", launched.boot)
    assert (told["APPLICATION_NAME"], told["DEPLOYMENT_GROUP_NAME"]) == ("shop", "test")
    assert (told["TIDEGATE_VERSION"], told["TIDEGATE_NODE"], told["TIDEGATE_BOOT"]) == ("1", "n1", launched.boot)
    assert (bench.folder / "at").read_text().strip() == told["TIDEGATE_RELEASE"]


@pytest.mark.parametrize("event", SCRIPTED)
async def test_a_hook_that_fails_lets_the_revision_before_be_deployed_again(bench, executor, event):
    old = event in ORDER[:3]
    failing = {event: f"[ -e {bench.folder}/spared ] || exit 7"}
    await bench.launch(executor, bench.revision("1", failing if old else None))
    bench.said()
    with pytest.raises(StartFailed, match=f"ScriptFailed: {event}: .*failed with exit code 7"):
        await bench.launch(executor, bench.revision("2", None if old else failing))
    assert executor.running("shop").artifact.version == "1"
    assert (bench.folder / "www/page").read_text() == "page 1"
    assert bench.said()[-1] == "ValidateService 1 page 1"


@pytest.mark.parametrize("bench", [{"ignoreApplicationStopFailures": True}], indirect=True)
async def test_a_broken_stop_script_can_be_ignored(bench, executor):
    await bench.launch(executor, bench.revision("1", {"ApplicationStop": "exit 1"}))
    await bench.launch(executor, bench.revision("2"))
    assert executor.running("shop").artifact.version == "2"


async def test_a_hook_out_of_time_is_ended_with_its_group(bench, executor):
    mark = f"{bench.folder}/mark"
    stubborn = f"trap '' TERM; sh -c \"trap '' TERM; sleep 60\" {mark} & echo waiting for a lock; sleep 60"
    with pytest.raises(StartFailed, match=r"ScriptTimedOut: ApplicationStart: .* did not end within 1 s:\nwaiting for a lock"):
        await bench.launch(executor, bench.revision("1", {"ApplicationStart": stubborn}, timeout=1))
    assert not [pid for pid, words in command_lines() if mark in words]
    assert executor.running("shop") is None


async def test_a_command_that_a_dead_agent_left_is_ended_with_its_group(bench):
    """Its leader ends when asked; what it began did not, and worked on beside the next deployment."""
    mark = f"{bench.folder}/mark"
    script = f"trap 'exit 0' TERM; sh -c \"trap '' TERM; echo up; sleep 60; true\" {mark} & wait"
    disk, clock, output = SystemDisk(bench.folder), SystemClock(), bench.folder / "out"
    words = ("/bin/sh", "-c", script)
    order = Order(words=words, environment=os.environ, folder=bench.folder, within_s=60, output=output)
    dead = asyncio.ensure_future(Commands("shop", disk, clock).run(order))
    await until(lambda: output.exists() and output.read_text() == "up\n")
    await Commands("shop", disk, clock).end_left_over()
    await dead
    await until(lambda: not [pid for pid, words in command_lines() if words[-2:-1] == [mark]])


async def test_the_last_2048_bytes_of_output_are_told(bench, executor):
    noisy = "i=0; while [ $i -lt 500 ]; do echo line $i of the log; i=$((i+1)); done; echo the reason >&2; exit 1"
    with pytest.raises(StartFailed) as failed:
        await bench.launch(executor, bench.revision("1", {"AfterInstall": noisy}))
    tail = str(failed.value).partition("exit code 1:\n")[2]
    assert tail.endswith("the reason")
    assert 1_900 < len(tail.encode()) <= 2_048


async def test_a_hook_that_leaves_its_output_open_is_told_how_not_to(bench, executor):
    with pytest.raises(StartFailed, match=r"OutputsLeftOpen: ApplicationStart: .*>/dev/null"):
        await bench.launch(executor, bench.revision("1", {"ApplicationStart": "sleep 20 &"}))
    await bench.launch(
        executor, bench.revision("2", {"ApplicationStart": "sleep 20 >/dev/null 2>&1 & echo $! >" + f"{bench.folder}/pid"})
    )
    os.kill(int((bench.folder / "pid").read_text()), 9)


async def test_a_script_that_misses_something_failed_and_one_that_cannot_be_run_did_not_run(bench, executor):
    with pytest.raises(StartFailed, match=r"ScriptFailed: ApplicationStart: (.|\n)*/no/such/program"):
        await bench.launch(executor, bench.revision("1", {"ApplicationStart": "exec /no/such/program"}))
    alien = tarred(bench.folder, "2", {"appspec.yml": yaml.safe_dump(GOOD), "start.sh": "#!/no/such/shell\n"})
    with pytest.raises(StartFailed, match="failed with exit code"):
        await bench.launch(executor, alien)


async def test_a_zip_without_modes_gets_its_scripts_executable(bench, executor):
    spec = {"version": 0.0, "os": "linux", "hooks": {"ApplicationStart": [{"location": "start.sh", "runas": getpass.getuser()}]}}
    files = {"start.sh": f"#!/bin/sh\ntouch {bench.folder}/started\n", "appspec.yml": yaml.safe_dump(spec)}
    artifact = zipped(bench.folder, "1", files)
    await bench.launch(executor, artifact)
    assert (bench.folder / "started").exists()
    assert await executor.measure("shop") == artifact.sha256


GOOD = {"version": 0.0, "os": "linux", "hooks": {"ApplicationStart": [{"location": "start.sh"}]}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 1.0}, "version"),
        ({"os": "windows"}, "os"),
        (
            {"hooks": {"ApplicationStrat": [{"location": "start.sh"}]}},
            r"hooks\.ApplicationStrat: no scripts run for it; write one of",
        ),
        ({"hooks": {"Install": [{"location": "start.sh"}]}}, r"hooks\.Install"),
        ({"hooks": {"ApplicationStart": [{"location": "absent.sh"}]}}, "ScriptMissing: absent.sh"),
        ({"hooks": {"ApplicationStart": [{"location": "../start.sh"}]}}, "leads out"),
        ({"hooks": {"ApplicationStart": [{"location": "start.sh", "timeout": 0}]}}, "timeout"),
        ({"hooks": {"ApplicationStart": [{"location": "start.sh", "timeout": 4_000}]}}, "timeout"),
        ({"hooks": {"ApplicationStart": [{"location": "start.sh", "runas": "nobody-of-that-name"}]}}, "there is no user"),
        ({"files": [{"source": "absent", "destination": "/srv"}]}, r"files\[0\]\.source"),
        ({"files": [{"source": "start.sh", "destination": "srv"}]}, r"files\[0\]\.destination: srv is relative"),
        ({"permissions": []}, "permissions: not carried out"),
        ({"file_exists_behavior": "RETAIN"}, "file_exists_behavior"),
        ({"hokos": {}}, "hokos"),
    ],
)
def test_an_appspec_that_would_not_be_obeyed_is_refused_with_its_path(tmp_path, changes, said):
    (tmp_path / "start.sh").write_text("#!/bin/sh\n")
    (tmp_path / "appspec.yml").write_text(yaml.safe_dump(GOOD | changes))
    with pytest.raises(Unusable, match=said):
        prepare(tmp_path)


def test_who_is_not_root_cannot_run_as_another(tmp_path, monkeypatch):
    (tmp_path / "start.sh").write_text("#!/bin/sh\n")
    spec = GOOD | {"hooks": {"ApplicationStart": [{"location": "start.sh", "runas": "daemon"}]}}
    (tmp_path / "appspec.yml").write_text(yaml.safe_dump(spec))
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    with pytest.raises(Unusable, match="cannot become daemon; run it as root, or take runas out"):
        prepare(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another")
async def test_root_runs_a_script_as_another_user(bench, executor):
    bench.folder.chmod(0o755)
    for parent in list(bench.folder.parents)[:4]:
        if parent.name.startswith(("pytest", "popen", "test_")):
            parent.chmod(parent.stat().st_mode | 0o011)
    hooks = {"ApplicationStart": [{"location": "ApplicationStart.sh", "runas": "nobody"}]}
    (bench.folder / "who").mkdir(mode=0o777)
    (bench.folder / "who").chmod(0o777)
    await bench.launch(executor, bench.revision("1", {"ApplicationStart": f"id -un >{bench.folder}/who/am"}, hooks=hooks))
    assert (bench.folder / "who/am").read_text() == "nobody\n"
