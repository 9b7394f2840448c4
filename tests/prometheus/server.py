"""A real Prometheus (Debian's package) with the deployed configuration, its names replaced by where things are in a test."""

import asyncio
import contextlib
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.debian import program
from tests.notify.server import answers, until

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"
EVERY = "1s"
READY_WITHIN_S = 15.0


def promtool(*arguments: str, text: str = "") -> str:
    """What Prometheus's own tool says; fails where it is not content."""
    command = [program("prometheus", "promtool"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configured(folder: Path, roles: Mapping[str, Sequence[str]], servers: Mapping[str, str], own: Mapping[str, Any]) -> Path:
    """The deployed configuration. ``roles``: addresses of each. ``servers``: those of Prometheus and Alertmanager. ``own``: what
    else is scraped, by job, and rules of the test.
    """
    config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    config["rule_files"] = [str(DEPLOYED / one) for one in config["rule_files"]] + list(own["rules"])
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [servers["alertmanager"]]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    asked = {one["labels"]["role"]: one for one in jobs["tidegate"]["static_configs"]}
    for role, one in asked.items():
        one["targets"] = list(roles.get(role, ()))
    for job, address in servers.items():
        jobs[job]["static_configs"][0]["targets"] = [address]
    config["scrape_configs"] += [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in own["jobs"].items()]
    assert set(roles) <= set(asked), f"{DEPLOYED}/prometheus.yml does not ask {set(roles) - set(asked)}"
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


class Prometheus:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What an expression is now."""
        found: list[dict[str, Any]] = self._get("query", query=expr)["result"]
        return found

    def value(self, expr: str) -> float | None:
        """The one value of an expression."""
        found = self.query(expr)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> dict[str, dict[str, Any]]:
        """Alerts that fire, by name."""
        return {one["labels"]["alertname"]: one for one in self._get("alerts")["alerts"] if one["state"] == "firing"}

    def targets(self) -> dict[str, set[str]]:
        """Health of what is scraped, by role."""
        found: dict[str, set[str]] = {}
        for one in self._get("targets", state="active")["activeTargets"]:
            found.setdefault(one["labels"].get("role", one["labels"]["job"]), set()).add(one["health"])
        return found

    def _get(self, what: str, **asked: str) -> Any:
        query = urllib.parse.urlencode(asked)
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=10) as answer:  # noqa: S310 - our own
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]


@contextlib.asynccontextmanager
async def prometheus(folder: Path, config: Path, address: str) -> AsyncIterator[Prometheus]:
    """Run one until the block ends."""
    binary = await asyncio.to_thread(program, "prometheus", "prometheus")
    log = folder / "prometheus.log"
    with log.open("wb") as told:
        process = await asyncio.create_subprocess_exec(
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={address}",
            stdout=told,
            stderr=told,
        )
    url = f"http://{address}"
    try:
        await until(lambda: process.returncode is not None or answers(f"{url}/-/ready"), READY_WITHIN_S)
        assert process.returncode is None, log.read_text()
        yield Prometheus(url)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
