"""Every alarm that the code can raise stands in docs/alarms.md, with what it means and what to do."""

import re
from pathlib import Path

import yaml
from tests.alarms.table import PAGE, page

from tidegate.alarms.catalogue import kinds

TOP = Path(__file__).parents[2]


def test_the_page_holds_the_table_as_the_code_has_it() -> None:
    text = PAGE.read_text()
    assert page(text) == text, "write it anew: PYTHONPATH=. .venv/bin/python -m tests.alarms.table"


def test_every_kind_says_all_that_a_person_needs_and_no_name_stands_twice() -> None:
    found = kinds()
    assert len({kind.name for kind in found}) == len(found)
    assert not [kind.name for kind in found if not (kind.meaning.endswith(".") and kind.remedy and kind.timing and kind.writer)]


def test_no_alarm_is_made_of_a_name_that_is_in_no_catalogue() -> None:
    known = {kind.name for kind in kinds()}
    files = [*(TOP / "streams/tidegate").rglob("*.py"), *(TOP / "agents/tidegate").rglob("*.py")]
    for path in files:
        text = path.read_text()
        if "Alarm(" in text or "Condition(" in text:
            assert set(re.findall(r"""\b(?:Alarm|Condition)\([^)]*?name=["'](\w+)["']""", text)) <= known, path


def test_the_example_of_alertmanager_names_alarms_and_labels_that_exist() -> None:
    text = (TOP / "deploy/alertmanager/alertmanager.yml").read_text()
    config = yaml.safe_load(text)
    assert set(re.findall(r'alertname="(\w+)"', text)) <= {kind.name for kind in kinds()}
    receivers = {receiver["name"] for receiver in config["receivers"]}
    routes = [config["route"], *config["route"]["routes"]]
    assert {route["receiver"] for route in routes} == receivers
