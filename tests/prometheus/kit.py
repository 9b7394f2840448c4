"""The whole system with API and notify, watched by a real Prometheus, its alerts handed on by a real Alertmanager."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from tests.notify.server import Server, serving
from tests.prometheus.server import Prometheus, configured, prometheus
from tests.scenarios.kit import DECIDERS, System

from tidegate.api.roles import Role
from tidegate.api.tokens import FILE, Grant, make_token
from tidegate.broker.local import free_ports
from tidegate.demo.fleet import FLEET, TIDEGATE
from tidegate.demo.load import Load
from tidegate.demo.shop import FLAG_SET
from tidegate.runtime.supervise import Program

RULES = """
groups:
  - name: shop
    rules:
      - alert: OrdersLost
        expr: shop_orders_lost > 0
        labels: { service: shop, severity: critical, tidegate: abort }
        annotations: { summary: "{{ $value }} orders are lost" }
      - alert: CartsSlow
        expr: shop_carts_slow > 0
        labels: { service: shop, severity: warning, tidegate: gate }
        annotations: { summary: "carts are slow" }
"""
"""As the people of a service would write them: about what Tidegate does not see."""
RATE_PER_SERVER = 20.0
DEPLOYED = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"


class Shop:
    """Numbers of the shop that only Prometheus knows, at a page of their own."""

    def __init__(self) -> None:
        registry, (port,) = CollectorRegistry(), free_ports(1)
        self.orders_lost = Gauge("shop_orders_lost", "Orders that were paid and are not there.", registry=registry)
        self.carts_slow = Gauge("shop_carts_slow", "1: carts are slow.", registry=registry)
        self._server, self._thread = start_http_server(port, "127.0.0.1", registry)
        self.address = f"127.0.0.1:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Watched(System):
    """Every role there is, with a person's token and Alertmanager's."""

    alertmanager = ""
    """Address of it, before the system starts."""

    def __init__(self, folder: Path, servers: int, bootstrap: str) -> None:
        super().__init__(folder, servers, bootstrap, flagged=True)
        self.load = Load(self.addresses, RATE_PER_SERVER)

    def _programs(self) -> Iterator[Program]:
        config = yaml.safe_load(self._home.config.read_text())
        config["api"], config["bridge"] = {"port": 0, "sync": 0, "flag_set": FLAG_SET}, {"port": 0}
        gates = [{"kind": "command", "name": "load-test", "command": ["true"]}]
        config["notify"] = {"targets": [{"kind": "alertmanager", "url": f"http://{self.alertmanager}"}], "gates": gates}
        self._home.config.write_text(yaml.safe_dump(config))
        tokens = self._home.folder / FILE
        self.person = make_token(tokens, "ann", (), Grant(role=Role.ADMIN))
        (self.folder / "tidegate.token").write_text(make_token(tokens, "alertmanager", (), Grant(role=Role.ALERTS)))
        yield from super()._programs()
        role = (*TIDEGATE, "--home", str(self._home.folder))
        yield Program(name="experiment", command=(*role, "worker", "experiment", "--instance", FLEET))
        for name in ("bridge", "notify", "api"):
            yield Program(name=name, command=(*role, name))

    def at(self, name: str) -> str:
        """Where a program serves its metrics."""
        return (self._supervisor.address_of(name) or "").removeprefix("http://")

    @property
    def api(self) -> str:
        """Address of the control API."""
        (told,) = (one for one in self._supervisor.also_of("api") if one.startswith("control API "))
        return told.removeprefix("control API ")

    @property
    def roles(self) -> dict[str, list[str]]:
        """Addresses of metrics, by role."""
        found = {role: [self.at(role)] for role in ("intake", "judge", "experiment", "bridge", "notify", "api")}
        return found | {"decide": [*map(self.at, DECIDERS)], "node": [self.at(f"node-{node}") for node in self.nodes]}

    @property
    def served(self) -> bool:
        """Whether every program has said where it serves."""
        return all(self.at(name) for name in self._supervisor.names)


def routed(folder: Path, system: Watched) -> Path:
    """Alertmanager's deployed configuration with the addresses of this test."""
    config = yaml.safe_load(DEPLOYED.read_text())
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}/"
    for receiver in config["receivers"]:
        for hook in receiver["webhook_configs"]:
            if receiver["name"] == "tidegate":
                hook["url"] = f"{system.api}/alertmanager"
                hook["http_config"]["authorization"]["credentials_file"] = str(system.folder / "tidegate.token")
            else:
                hook["url"] = nobody
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.asynccontextmanager
async def watching(folder: Path, system: Watched) -> AsyncIterator[tuple[Prometheus, Server, Shop]]:
    """Run both servers beside a system until the block ends."""
    rules = folder / "shop.yml"
    rules.write_text(RULES)
    servers = {"alertmanager": system.alertmanager, "prometheus": f"127.0.0.1:{free_ports(1)[0]}"}
    async with contextlib.AsyncExitStack() as stack:
        shop = Shop()
        stack.callback(shop.close)
        port = int(system.alertmanager.rpartition(":")[2])
        alertmanager = await stack.enter_async_context(serving(folder, routed(folder, system), port))
        config = configured(folder, system.roles, servers, {"rules": [str(rules)], "jobs": {"shop": shop.address}})
        yield await stack.enter_async_context(prometheus(folder, config, servers["prometheus"])), alertmanager, shop


def flat(value: bytes) -> dict[str, object]:
    """A record as its JSON says, numbers as they are written."""
    found: dict[str, object] = json.loads(value, parse_float=lambda text: ("float", text), parse_int=lambda text: ("int", text))
    return found
