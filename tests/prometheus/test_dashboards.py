"""Dashboards and provisioning as files: what the code makes, and nothing that points nowhere."""

import json
import re

import pytest
import yaml
from tests.prometheus.dashboards import DASHBOARDS, FOLDER, files
from tests.prometheus.panels import COLUMNS, KAFKA_TYPE
from tests.prometheus.roles import metrics
from tests.prometheus.server import DEPLOYED

GRAFANA = DEPLOYED.parent / "grafana"


def test_the_files_are_what_the_code_makes():
    wanted = dict(files())
    assert {path: path.read_text() for path in FOLDER.iterdir()} == wanted, (
        "write them anew: PYTHONPATH=. .venv/bin/python -m tests.prometheus.dashboards"
    )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_cover_each_other_and_every_query_has_its_letter(name):
    taken = set()
    for panel in DASHBOARDS[name]()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= COLUMNS
        taken |= cells
        letters = [query["refId"] for query in panel["targets"]]
        assert sorted(set(letters)) == letters


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_metric_of_a_picture_exists(name):
    known = {one.name for found in metrics().values() for one in found} | {"process_cpu_seconds_total"}
    text = json.dumps(DASHBOARDS[name]())
    named = set(re.findall(r"(?<![\w:-])tidegate_[a-z0-9_]+(?![\w:])", text))
    recorded = set(re.findall(r"record: (\S+)", (DEPLOYED / "rules/recording.yml").read_text()))
    assert named - known == set()
    assert set(re.findall(r"(?<![\w])[a-z_]+:[a-z0-9_]+:\w+", text)) <= recorded


def test_provisioned_files_name_each_other():
    sources = {
        one["uid"]: one for one in yaml.safe_load((GRAFANA / "provisioning/datasources/tidegate.yaml").read_text())["datasources"]
    }
    assert sources["tidegate-kafka"]["type"] == KAFKA_TYPE
    assert (
        sources["tidegate-prometheus"]["jsonData"]["timeInterval"]
        == yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())["global"]["scrape_interval"]
    )
    for path in (GRAFANA / "dashboards").glob("*.json"):
        board = json.loads(path.read_text())
        assert re.fullmatch(r"tidegate-[a-z]+", board["uid"])
        used = {part["datasource"]["uid"] for part in board["panels"]} - {"${datasource}"}
        assert used <= set(sources), path
