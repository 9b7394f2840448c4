"""deploy/k8s: against Kubernetes' own schemas and its "restricted" standard, and what a pod would start, started here.

No cluster runs here. A container's command, environment, files and probes are taken from the manifest; what is rewritten are
folders, ports, and where the broker is and that nobody is asked who he is (docs/security.md has tests of its own).
"""

import asyncio
import json
import os
import shlex
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tidegate.cli.group import run
from tidegate.runtime.home import Home
from tidegate.runtime.settings import load_settings

K8S = Path(__file__).parents[2] / "deploy" / "k8s"
KUSTOMIZATION = yaml.safe_load((K8S / "kustomization.yaml").read_text())
MANIFESTS = [
    manifest for name in KUSTOMIZATION["resources"] for manifest in yaml.safe_load_all((K8S / name).read_text()) if manifest
]
WORKLOADS = {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] in ("Deployment", "StatefulSet")}
VERSIONS = (pytest.param("1.29", marks=pytest.mark.thorough), "1.37")
"""The oldest and the newest that is promised (docs/deployment.md)."""
READY_WITHIN_S = 60


def named(kind: str, name: str) -> dict[str, Any]:
    return next(one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name))


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return found


def test_every_file_is_a_resource():
    assert {path.name for path in K8S.glob("*.yaml")} == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version):
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_pod_meets_the_restricted_standard_and_is_bounded_and_probed(name):
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"].items() >= {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}.items()
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        own = container["securityContext"]
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    main = spec["containers"][0]
    assert {main[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {"/healthz"}
    assert main["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("name", WORKLOADS)
def test_selectors_ports_and_volumes_meet(name):
    workload, spec = WORKLOADS[name], pod(name)
    labels = workload["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in spec["containers"][0]["ports"]}
    selectors = [workload["spec"]["selector"]["matchLabels"], named("Service", name)["spec"]["selector"]]
    if workload["spec"]["replicas"] > 1:
        selectors.append(named("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"])
    assert all(selector == labels for selector in selectors)
    assert {port.get("targetPort", port["name"]) for port in named("Service", name)["spec"]["ports"]} <= ports
    mounts = [mount["name"] for one in (*spec["containers"], *spec.get("initContainers", ())) for mount in one["volumeMounts"]]
    assert {*mounts} == {volume["name"] for volume in spec["volumes"]}


def test_workers_have_names_that_last():
    """A member of a group that comes back under its name finds its partitions kept; pods of a Deployment never do."""
    workers = {name for name, one in WORKLOADS.items() if pod(name)["containers"][0]["args"][0] == "worker"}
    assert (
        workers == {name for name, one in WORKLOADS.items() if one["kind"] == "StatefulSet"} == {"intake", "judge", "experiment"}
    )
    assert all(pod(name)["containers"][0]["args"][-2:] == ["--instance", "$(POD_NAME)"] for name in workers)


def test_what_notify_has_told_outlives_its_pod():
    """Else what ended between two pods would fire at its receivers for ever. Of two pods one would wait for the volume."""
    claim = named("PersistentVolumeClaim", "notify")["metadata"]["name"]
    kept = [one["name"] for one in pod("notify")["volumes"] if one.get("persistentVolumeClaim", {}).get("claimName") == claim]
    mounts = {one["name"]: one["mountPath"] for one in pod("notify")["containers"][0]["volumeMounts"]}
    assert [Path(mounts[name]) for name in kept] == [Home(Path(mounts["home"])).state]
    spec = WORKLOADS["notify"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_secrets_stand_by_name_alone():
    assert not [one for one in MANIFESTS if one["kind"] == "Secret"]


def test_the_settings_are_settings(tmp_path):
    (tmp_path / "config.yaml").write_text(named("ConfigMap", "tidegate-config")["data"]["config.yaml"])
    settings = load_settings(tmp_path / "config.yaml", {})
    assert {getattr(settings.http, name) for name in WORKLOADS if hasattr(settings.http, name)} == {9400}
    assert settings.kafka.tls
    assert settings.kafka.sasl


@pytest.mark.kafka
@pytest.mark.thorough
@pytest.mark.parametrize("name", WORKLOADS)
async def test_what_a_pod_starts_becomes_ready_by_its_own_probe_and_ends(name, connection, tmp_path):
    made = tmp_path / "operator"
    arguments = ["init", "--fleet", "production", "--bootstrap", connection.bootstrap, "--prefix", connection.prefix, "--publish"]
    assert await asyncio.to_thread(run, ["--home", str(made), *arguments]) == 0
    spec, home, announce = pod(name), tmp_path / "home", tmp_path / "tmp" / "address"
    for folder in (home, announce.parent):
        folder.mkdir()
    (home / "config.yaml").write_text(named("ConfigMap", "tidegate-config")["data"]["config.yaml"])
    for init in spec.get("initContainers", ()):
        secret = next(one["secret"]["secretName"] for one in spec["volumes"] if one["name"] == "keys")
        given = secret_files(made / "keys", tmp_path / secret, name)
        command = init["command"][-1].replace("/secret", str(given))
        code = await (await asyncio.create_subprocess_exec(*init["command"][:-1], command, cwd=home)).wait()
        assert code == 0
    environment = {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "TIDEGATE_HOME": str(home),
        "TIDEGATE_ANNOUNCE": str(announce),
        "TIDEGATE__KAFKA": json.dumps({"bootstrap": connection.bootstrap, "prefix": connection.prefix}),
        "TIDEGATE__HTTP": "{}",
        "TIDEGATE__API": '{"port": 0, "sync": 0}',
        "TIDEGATE__BRIDGE": '{"port": 0}',
    }
    main = spec["containers"][0]
    typed = ["tidegate", *(word.replace("$(POD_NAME)", f"{name}-0") for word in main["args"])]
    process = await asyncio.create_subprocess_exec(*typed, env=environment, cwd=tmp_path / "tmp")
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while not await asyncio.to_thread(probed, announce, main["readinessProbe"]["httpGet"]["path"]):
                assert process.returncode is None, shlex.join(typed)
        assert await asyncio.to_thread(probed, announce, main["livenessProbe"]["httpGet"]["path"])
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def secret_files(keys: Path, folder: Path, role: str) -> Path:
    """What docs/deployment.md puts into the Secret of a role, as Kubernetes mounts it for a group."""
    data = folder / "..data"
    data.mkdir(parents=True)
    for file in ("root.json", *{"decide": ["decision.key"], "api": ["api.key"], "notify": ["gate.key"]}[role]):
        (data / file).write_bytes((keys / file).read_bytes())
        (data / file).chmod(0o440)
        (folder / file).symlink_to(data / file)
    return folder


def probed(announce: Path, path: str) -> bool:
    """Whether the kubelet would find it well."""
    try:
        url = announce.read_text().splitlines()[0]
        with urllib.request.urlopen(f"{url}{path}", timeout=5):  # noqa: S310 - http
            return True
    except OSError:
        time.sleep(0.1)
        return False
