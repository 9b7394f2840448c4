"""docker-compose.yml without Docker: every service is a process of this machine, with the command, the environment and nothing
but the environment that the file and the image give it, started in the order and under the conditions that the file names.

What a container has for itself is rewritten, and only that (``Composition.rewritten``): host names become addresses of loopback,
one for each service, so that ports stay as they are; mounts become folders; the image's programs become those of this machine.
"""

import asyncio
import os
import re
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from tests import debian
from tests.broker.daemon import write_tools
from tests.notify.server import alertmanager

ROOT = Path(__file__).parents[2]
UP_WITHIN_S = 120
RUN_WITHIN_S = 180
HEALTHY_WITHIN_S = 120
PROBED_EVERY_S = 0.5
IMAGE_DEFAULTS = {"log.dirs": "/tmp/kafka-logs"}  # noqa: S108 - Kafka's own, where the environment names none
NOT_HERE = "grafana/grafana:"
"""Debian has no package of it: what it shows is tried on real Prometheus, in tests/prometheus."""
NO_PROPERTIES = ("KAFKA_HEAP_OPTS",)
"""What the image apache/kafka reads itself."""
PROBE = """#!/bin/sh
exec {python} -c '
import asyncio, sys
from tidegate.broker.kafka import answers
sys.exit(not asyncio.run(answers(sys.argv[1])))' "$2"
"""


WGET = """#!/bin/sh
for url; do :; done
exec {python} -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$url"
"""


class Image:
    """The last stage of a Dockerfile."""

    def __init__(self, path: Path) -> None:
        text = path.read_text().replace("\\\n", " ")
        lines = [line.partition(" ")[::2] for line in text[text.rindex("\nFROM ") :].splitlines()]
        told = {word: rest.strip() for word, rest in lines}
        self.environment = dict(one.split("=", 1) for word, rest in lines if word == "ENV" for one in shlex.split(rest))
        self.entrypoint: list[str] = yaml.safe_load(told["ENTRYPOINT"])
        self.command: list[str] = yaml.safe_load(told["CMD"])
        self.stop = signal.Signals[told["STOPSIGNAL"]]
        self.health: list[str] = ["CMD", *yaml.safe_load(told["HEALTHCHECK"].partition(" CMD ")[2])]


class Composition:
    """The services of the file; ``folder`` takes their volumes, logs and working folders."""

    def __init__(self, folder: Path, class_path: str) -> None:
        text = (ROOT / "docker-compose.yml").read_text()
        written: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
        self.services = {name: one for name, one in written.items() if not one["image"].startswith(NOT_HERE)}
        self.typed = re.findall(r"^# +docker compose run --rm operator (.+?)(?:  .*)?$", text, re.MULTILINE)
        """What the head of the file tells a person to type, after the name of the service."""
        self.image = Image(ROOT / "deploy" / "Dockerfile")
        self.folder = folder
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        net = f"127.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}"
        self._addresses = {name: f"{net}.{number}" for number, name in enumerate(self.services, 2)}
        self._tools = folder / "tools"
        write_tools(self._tools, class_path)
        for name, text in (("kafka-broker-api-versions.sh", PROBE), ("wget", WGET)):
            (self._tools / name).write_text(text.format(python=sys.executable))
            (self._tools / name).chmod(0o755)
        self._mounts: dict[str, Path] = {}
        for service in self.services.values():
            for source, target, *_ in (one.split(":") for one in service["volumes"]):
                self._mounts[target] = folder / "volumes" / source.replace("/", "-").strip(".-")
                self._mounts[target].mkdir(parents=True, exist_ok=True)
                if source.startswith("."):
                    self._fill(ROOT / source, self._mounts[target])

    def rewritten(self, service: str, text: str) -> str:
        """Return a text of the file or of what it mounts as it must read outside a container."""
        names = "|".join(map(re.escape, self._addresses))
        text = re.sub(rf"(?<![\w.-])({names})(?=:\d)", lambda match: self._addresses[match[1]], text)
        text = re.sub(r"(?<![\w.-])localhost(?=:\d)|(?<![\w.-])0\.0\.0\.0(?![\w.])", self._addresses[service], text)
        text = re.sub(r"://(?=:\d)", f"://{self._addresses[service]}", text)
        folders = {target: str(folder) for target, folder in (self._mounts | self._tmpfs(service)).items()}
        targets = "|".join(map(re.escape, sorted(folders, key=len, reverse=True)))
        pattern = rf"(?<![\w.-])({targets})(?=[/\"':, ]|$)"
        text = re.sub(pattern, lambda match: folders[match[1]], text, flags=re.MULTILINE)
        # Last, for the folder that this runs in may itself lie below one that is mounted, such as /tmp.
        return text.replace("/opt/tidegate/bin", f"{sys.prefix}/bin").replace("/opt/kafka/bin", str(self._tools))

    async def up(self, *names: str) -> None:
        """Start some services and what they need, or all that belong to no profile, as ``docker compose up --detach`` does."""
        for name in names or [name for name, service in self.services.items() if "profiles" not in service]:
            await self._up(name)

    async def healthy(self) -> list[str]:
        """Wait until everything that was started and has a health check passes it; return the names."""
        checked = [name for name in self.processes if self._check(name)]
        for name in checked:
            await self._healthy(name)
        return checked

    def address(self, name: str) -> str:
        """Where the ports of a service are, published or not."""
        return self._addresses[name]

    async def run(self, name: str, *arguments: str) -> tuple[int, str]:
        """Run a service once with other arguments, as ``docker compose run --rm`` does; return exit code and output.

        Fails where a service ends meanwhile, or time runs out.
        """
        log = f"{name}-{len(list(self.folder.glob('logs/*')))}"
        process = await self._start(name, [*self.image.entrypoint, *arguments], log)
        deadline_s = time.monotonic() + RUN_WITHIN_S
        try:
            while process.returncode is None:
                fallen = [
                    one for one, running in self.processes.items() if running.returncode is not None and self._restarts(one)
                ]
                assert not fallen, f"{fallen[0]} ended: {self.said(fallen[0])}"
                assert time.monotonic() < deadline_s, f"{arguments} took more than {RUN_WITHIN_S} s: {self.said(log)}"
                await asyncio.sleep(0.1)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, self.said(log)

    async def stop(self) -> dict[str, int]:
        """Stop all, the last started first; return exit codes. What does not end in compose's time is killed."""
        codes: dict[str, int] = {}
        for name, process in reversed(self.processes.items()):
            if process.returncode is None:
                process.send_signal(self.image.stop)
            try:
                async with asyncio.timeout(int(self.services[name]["stop_grace_period"].removesuffix("s"))):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            codes[name] = process.returncode or 0
        return codes

    def working_folder(self, name: str) -> Path:
        """Where a service runs; its image is read-only, so nothing may be left there."""
        return self.folder / "work" / name

    def said(self, name: str) -> str:
        """Return the last that a service said."""
        return self._log(name).read_text()[-3_000:]

    async def _up(self, name: str) -> None:
        if name in self.processes:
            return
        for needed, depends in self.services[name].get("depends_on", {}).items():
            await self._up(needed)
            async with asyncio.timeout(UP_WITHIN_S):
                match depends["condition"]:
                    case "service_completed_successfully":
                        code = await self.processes[needed].wait()
                        assert code == 0, f"{needed} ended with {code}: {self.said(needed)}"
                    case "service_healthy":
                        await self._healthy(needed)
                    case other:
                        raise AssertionError(other)
        service = self.services[name]
        folder = self.working_folder(name)
        match service["image"].partition(":")[0]:
            case "apache/kafka":
                command = await self._format(name)
            case "prom/prometheus":
                command = [await asyncio.to_thread(debian.program, "prometheus", "prometheus"), *service["command"]]
            case "prom/alertmanager":
                program, folder = await asyncio.to_thread(alertmanager, folder)
                command = [program, *service["command"]]
            case _ if "entrypoint" in service:
                command = [*service["entrypoint"], *service.get("command", ())]
            case _:
                command = [*self.image.entrypoint, *service.get("command", self.image.command)]
        self.processes[name] = await self._start(name, command, name, folder)

    async def _format(self, name: str) -> list[str]:
        """Make properties of the environment as the image does, prepare the data folder; return what starts the broker."""
        environment = self._environment(name)
        told = [key for key in environment if key.startswith("KAFKA_") and key not in NO_PROPERTIES]
        keys = {key: key.removeprefix("KAFKA_").lower().replace("_", ".") for key in told}
        properties = IMAGE_DEFAULTS | {to: environment[key] for key, to in keys.items()}
        kept = [target for target, folder in self._mounts.items() if properties["log.dirs"].startswith(str(folder))]
        assert kept, f"{name} keeps its data in {properties['log.dirs']}, which is no volume: it is lost with the container"
        path = self.folder / f"{name}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        tool = (str(self._tools / "kafka-storage.sh"), "format", "-t", environment["CLUSTER_ID"], "-c", str(path))
        formatting = await self._start(name, [*tool], f"{name}-format")
        assert await formatting.wait() == 0, self.said(f"{name}-format")
        return [str(self._tools / "kafka-server-start.sh"), str(path)]

    def _check(self, name: str) -> list[str]:
        """Return a service's health check, its image's where it says none; empty: it has none."""
        own = self.services[name].get("healthcheck", {})
        ours = self.image.health if self.services[name]["image"].startswith("tidegate:") else []
        return [] if own.get("disable") else own.get("test", ours)

    async def _healthy(self, name: str) -> None:
        kind, *command = self._check(name)
        shell = ["sh", "-c"] if kind == "CMD-SHELL" else []
        last_s = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            probe = await self._start(name, [*shell, *command], f"{name}-health")
            if await probe.wait() == 0:
                return
            await asyncio.sleep(PROBED_EVERY_S)
            assert self.processes[name].returncode is None, f"{name} ended: {self.said(name)}"
            assert time.monotonic() < last_s, f"{name} does not become healthy: {self.said(f'{name}-health')} {self.said(name)}"

    async def _start(self, name: str, command: list[str], log: str, folder: Path | None = None) -> asyncio.subprocess.Process:
        self.working_folder(name).mkdir(parents=True, exist_ok=True)
        environment = self._environment(name)
        command = [self.rewritten(name, str(word)) for word in command]
        program = shutil.which(command[0], path=environment["PATH"])
        assert program, f"{name}: no program {command[0]}"
        self._log(log).parent.mkdir(exist_ok=True)
        with self._log(log).open("wb") as out:
            return await asyncio.create_subprocess_exec(
                program,
                *command[1:],
                env=environment,
                cwd=folder or self.working_folder(name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _environment(self, name: str) -> dict[str, str]:
        service = self.services[name]
        ours = service["image"].startswith("tidegate:")
        image = self.image.environment if ours else {"PATH": f"{self._tools}:$PATH"}
        told = image | {key: str(value) for key, value in service.get("environment", {}).items()}
        return {key: self.rewritten(name, value).replace("$PATH", os.environ["PATH"]) for key, value in told.items()}

    def _tmpfs(self, name: str) -> dict[str, Path]:
        """Return the folders in memory that a service has for itself."""
        found = {one.partition(":")[0]: self.folder / "tmpfs" / name for one in self.services[name].get("tmpfs", ())}
        for folder in found.values():
            folder.mkdir(parents=True, exist_ok=True)
        return found

    def _restarts(self, name: str) -> bool:
        return self.services[name].get("restart") != "no"

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _fill(self, source: Path, target: Path) -> None:
        for path in source.rglob("*.*"):
            text = path.read_text()
            owner = path.stem if path.stem in self.services else "operator"
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.rewritten(owner, text) if path.suffix in (".yaml", ".yml") else text)
