"""The node's YAML: read whole, or refused with the path and the remedy."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.node.kit import config_of

from tidegate.cli.node import node
from tidegate.node.config import ConfigError, ServiceConfig, load_config, load_signer, load_trust
from tidegate.node.executors.environment import environment_of
from tidegate.runtime.access import Access, Sasl, Tls, access_in
from tidegate.runtime.problem import Problem

GOOD = """
fleet: demo
node: n1
zone: a
labels: {rack: r1}
kafka: {bootstrap: "127.0.0.1:9092"}
keys: {root: keys/root.json, private: keys/n1.key}
state: state/n1
metrics_port: 9100
flag_files: {web: run/web.json}
services:
  shop:
    command: ["{python}", "{artifact}"]
    listen: "127.0.0.1:8101"
    readiness: {http: "http://127.0.0.1:9001/ready"}
    readyWithin: 15s
    drain: 500ms
"""


SECURED = """kafka:
  bootstrap: "127.0.0.1:9092"
  tls: {ca: keys/ca.pem}
  sasl: {user: "tidegate-{role}", password: "file:keys/{role}.password"}"""


def write(folder: Path, text: str) -> Path:
    path = folder / "n1.yaml"
    path.write_text(text)
    return path


def test_a_good_file_is_read_with_its_paths_beside_it(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    shop = config.services["shop"]
    assert (config.node, config.kafka.prefix, shop.executor) == ("n1", "tidegate.", "process")
    assert (shop.ready_within_s, shop.drain_s) == (15.0, 0.5)
    assert config.state == str(tmp_path / "state/n1")
    assert config.keys.root == str(tmp_path / "keys/root.json")
    assert config.flag_files == {"web": str(tmp_path / "run/web.json")}


@pytest.mark.parametrize(("drains", "within_s"), [((), 3_600), (("10s", "25s"), 3_600), (("10s", "2h"), 7_200)])
def test_who_stops_the_services_waits_as_long_as_the_slowest_may_take(tmp_path, drains, within_s):
    services = {f"s{place}": ServiceConfig(drain=drain) for place, drain in enumerate(drains)}
    assert config_of(tmp_path, **services).stopped_within_s == within_s


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("drain: 500ms", "drian: 500ms", "services"),
        ("readyWithin: 15s", "readyWithin: soon", "readyWithin"),
        ("node: n1", "node: 'n 1'", "node"),
        ("metrics_port: 9100", "metrics_port: 70000", "metrics_port"),
        ('command: ["{python}", "{artifact}"]', "command: []", "services.shop.command"),
        ('{http: "http://127.0.0.1:9001/ready"}', "{}", "services.shop.readiness"),
        ("127.0.0.1:9001/ready", "127.0.0.1:8101/ready", "services.shop.readiness"),
        ('{http: "http://127.0.0.1:9001/ready"}', '{tcp: "127.0.0.1:8101"}', "services.shop.readiness"),
        ('listen: "127.0.0.1:8101"', 'listen: "0.0.0.0:9001"', "services.shop.readiness"),
        ('listen: "127.0.0.1:8101"', 'listen: "LOCALHOST:9001"', "services.shop.readiness"),
        ('"127.0.0.1:8101"', "8101", "listen"),
        ('"127.0.0.1:8101"', '"127.0.0.1:65536"', "services.shop.listen"),
        ('{http: "http://127.0.0.1:9001/ready"}', '{tcp: "127.0.0.1:99999"}', "services.shop.readiness.tcp"),
        ("drain: 500ms", 'address: "127.0.0.1:99999"', "services.shop.address"),
        ("flag_files: {web: run/web.json}", "flag_files: {a/b: run/web.json}", "flag_files"),
        ("fleet: demo", "fleet: [", "not YAML"),
        ("kafka:", "kafak:", "kafak"),
    ],
)
def test_a_fault_is_named_by_its_path(tmp_path, old, new, said):
    with pytest.raises(ConfigError) as refused:
        load_config(write(tmp_path, GOOD.replace(old, new)))
    assert said in str(refused.value)
    assert "n1.yaml" in str(refused.value)


@pytest.mark.parametrize("place", ["TIDEGATE_BOOTSTRAP", "n1.yaml: kafka.bootstrap"])
def test_what_is_no_address_of_a_broker_is_named_where_it_counts(tmp_path, place):
    """The variable wins, whatever stands in the file."""
    good, wrong = "127.0.0.1:9092", "127.0.0.1:9092,kafka:99092"
    by_variable = place.isupper()
    path = write(tmp_path, GOOD.replace(good, "(a variable says it)" if by_variable else wrong))
    environment = {"TIDEGATE_BOOTSTRAP": wrong if by_variable else ""}
    refused = CliRunner().invoke(node, ["--config", str(path)], env=environment).exception
    assert isinstance(refused, Problem)
    assert refused.what.endswith(f"{place}: 'kafka:99092' is no address of a broker")
    assert refused.code == 2


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="tidegate init"):
        load_config(tmp_path / "absent.yaml")
    config = load_config(write(tmp_path, GOOD))
    for load in (load_signer, load_trust):
        with pytest.raises(Problem, match="tidegate init"):
            load(config)


def test_keys_that_are_none_are_refused_with_their_path(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    (tmp_path / "keys").mkdir()
    for name, load in (("n1.key", load_signer), ("root.json", load_trust)):
        (tmp_path / "keys" / name).write_text("nothing of the kind")
        (tmp_path / "keys" / name).chmod(0o600)
        with pytest.raises(Problem, match=name):
            load(config)


def test_the_agent_comes_to_the_broker_as_a_node_and_its_services_as_services_unless_they_say_otherwise(tmp_path):
    text = GOOD.replace('kafka: {bootstrap: "127.0.0.1:9092"}', SECURED)
    config = load_config(write(tmp_path, text))
    assert config.kafka.access.of("node", Path()).sasl == Sasl(
        user="tidegate-node", password=f"file:{tmp_path}/keys/node.password"
    )
    told = environment_of(config, "shop", {})
    assert access_in(told) == Access(
        Tls(ca=str(tmp_path / "keys/ca.pem")),
        Sasl(user="tidegate-service", password=f"file:{tmp_path}/keys/service.password"),
    )
    own = load_config(write(tmp_path, text + "    env: {TIDEGATE_SASL_USER: shop}\n"))
    assert access_in(environment_of(own, "shop", {})).principal == "User:shop"
    assert "TIDEGATE_TLS" not in environment_of(load_config(write(tmp_path, GOOD)), "shop", {})


def test_a_service_is_not_told_what_systemd_told_the_agent(tmp_path):
    """It would give its signs of life to the agent's manager, or to nobody."""
    systemd = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "LISTEN_FDS": "1", "TIDEGATE_HOME": "/x"}
    told = environment_of(load_config(write(tmp_path, GOOD)), "shop", systemd | {"LANG": "C"})
    assert "LANG" in told
    assert not systemd.keys() & told.keys()
