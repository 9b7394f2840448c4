"""What the page is made of: pinned libraries, nothing inline, nothing that makes code of text."""

import hashlib
import re
import tomllib

import pytest

from tidegate.console import files

OWN = sorted(path for path in files() if not path.startswith("vendor/"))
MODULES = [path for path in OWN if path.endswith(".mjs")]
LINES_MAX = 400
MAKES_CODE_OR_MARKUP = re.compile(
    r"\beval\b|new Function|innerHTML|outerHTML|insertAdjacent|document\.write|dangerously|javascript:"
)
IMPORTS = re.compile(r'(?:from |import\()"([^"]+)"')


def text(path: str) -> str:
    return files()[path].body.decode()


def test_every_vendored_file_is_the_one_that_is_pinned():
    lock = tomllib.loads(text("vendor/vendor.lock"))
    pinned = {f"vendor/{one['name']}": one["sha256"] for package in lock["package"] for one in package["files"]}
    here = {path: file.sha256 for path, file in files().items() if path.startswith("vendor/") and path != "vendor/vendor.lock"}
    assert here == pinned


def test_every_vendored_library_comes_with_its_licence():
    lock = tomllib.loads(text("vendor/vendor.lock"))
    assert {package["license"] for package in lock["package"]} <= {"MIT", "Apache-2.0"}
    for package in lock["package"]:
        assert any(one["name"].endswith(".LICENSE") for one in package["files"]), package["name"]


def test_the_hash_is_of_the_bytes():
    for path, file in files().items():
        assert file.sha256 == hashlib.sha256(file.body).hexdigest(), path


def test_the_page_has_nothing_inline():
    page = text("index.html")
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\bstyle=|\bon\w+=", page) == []


@pytest.mark.parametrize("path", MODULES)
def test_a_module_is_short_says_what_it_is_for_and_makes_no_code_or_markup_of_text(path):
    module = text(path)
    assert len(module.splitlines()) <= LINES_MAX
    assert module.startswith("// ")
    assert not MAKES_CODE_OR_MARKUP.search(module)


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_what_is_there_and_libraries_by_one_module_alone(path):
    folder = path.split("/")[:-1]
    for name in IMPORTS.findall(text(path)):
        parts = list(folder)
        for step in name.split("/"):
            if step == "..":
                parts.pop()
            elif step != ".":
                parts.append(step)
        found = "/".join(parts)
        assert found in files(), f"{path} imports {name}"
        assert not found.startswith("vendor/") or path == "app/html.mjs"
