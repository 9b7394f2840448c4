"""What a reader of the documentation is promised: a link leads somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        TOP / "README.md",
        TOP / "CHANGELOG.md",
        *(TOP / ".github").glob("*.md"),
        *TOP.glob("docs/**/*.md"),
        *TOP.glob("deploy/**/*.md"),
    ]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    texts = (re.sub(r"[`*]", "", text).lower() for text in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def dead(page: Path) -> Iterator[str]:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(dead(page)) == []


def test_a_dead_link_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n[a](page.md) [b](#one-two) [c](none.md) [d](page.md#three)\n```\n[e](none.md)\n```\n")
    assert list(dead(page)) == ["none.md", "page.md#three"]


def test_every_rule_that_a_page_names_is_told() -> None:
    told = set(re.findall(r"^\* \*\*([A-I]\d)\*\*", (TOP / "docs" / "rules.md").read_text(), re.MULTILINE))
    groups = [group for page in PAGES for group in re.findall(r"\(([A-I]\d(?:, [A-I]\d)*)\)", prose(page))]
    assert len(groups) > 10
    assert {rule for group in groups for rule in group.split(", ")} - told == set()
