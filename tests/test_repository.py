"""Guards of the repository itself: what no linter watches and no reviewer should have to."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "parallax"
LOCKS = ("requirements.lock", "requirements-dev.lock")

# Where amounts and rates pass. A float there is a wrong cent waiting to happen.
MONEY_PACKAGES = ("domain", "desk", "venues", "journal")
# "module:function" (or "module:Class.function") -> why a float is right there. Never for an amount or a rate.
FLOATS_ALLOWED: dict[str, str] = {}

# A module that grew past this has more than one subject.
MAX_MODULE_LINES = 600

# Absolute paths that exist on one machine only.
MACHINE_PATH = re.compile(r"(?<![\w.~>-])/(?:work|farm|root|opt|home/\w+|Users/\w+)/")
# Where packages come from is the installing machine's business.
REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|yarnpkg)\.(?:org|com)\b|\bdeb\.debian\.|--(?:extra-)?index-url\b"
)

# A page's policy refuses all of these; a template that has one is broken in the browser, silently.
JINJA = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
INLINE = {
    "inline script": re.compile(r"<script\b(?![^>]*\ssrc\s*=)", re.IGNORECASE),
    "inline style element": re.compile(r"<style\b", re.IGNORECASE),
    "style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "event handler attribute": re.compile(r"<[^>]*\s(?:hx-)?on[a-z:-]+\s*=", re.IGNORECASE),
    "javascript: address": re.compile(r"=\s*[\"']?\s*javascript:", re.IGNORECASE),
}


def repository_files() -> list[Path]:
    """Every file that is tracked, or would be with the next `git add`."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            f"safe.directory={ROOT}",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """The repository's text files with their contents; pictures and fonts are left out."""
    for path in repository_files():
        raw = path.read_bytes()
        if b"\0" not in raw:
            yield str(path.relative_to(ROOT)), raw.decode("utf-8")


def matches(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern occurs in the repository's texts, as file:line: text."""
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def float_calls(source: str) -> Iterator[tuple[str, int]]:
    """Each call of `float` in a module, as the dotted name of the function around it and the line."""

    def walk(node: ast.AST, scope: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            scope = (*scope, node.name)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            yield ".".join(scope), node.lineno
        for child in ast.iter_child_nodes(node):
            yield from walk(child, scope)

    yield from walk(ast.parse(source), ())


def requirements(lock: str) -> dict[str, str]:
    """A lock's entries: the canonical name to the whole entry, on one line, without comments."""
    text = "\n".join(
        line for line in (ROOT / lock).read_text().splitlines() if not line.lstrip().startswith("#")
    )
    entries = [entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip()]
    return {canonicalize_name(re.split(r"[=\[ ;]", entry, maxsplit=1)[0]): entry for entry in entries}


def test_no_float_comes_near_money() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}:{scope}": f"{path.relative_to(ROOT)}:{line}"
        for package in MONEY_PACKAGES
        for path in sorted((PACKAGE / package).rglob("*.py"))
        for scope, line in float_calls(path.read_text())
    }
    assert {where: place for where, place in found.items() if where not in FLOATS_ALLOWED} == {}
    assert FLOATS_ALLOWED.keys() - found.keys() == set(), "an exemption that nothing needs any more"


def test_the_float_guard_sees_calls_wherever_they_hide() -> None:
    source = (
        "class A:\n    def b(self):\n        return [float(x) for x in y]\nz = float('1')\nw: float = 1.5\n"
    )
    assert list(float_calls(source)) == [("A.b", 3), ("", 4)]


def test_no_file_names_a_path_of_one_machine() -> None:
    assert matches(MACHINE_PATH) == []


def test_no_file_names_a_package_registry() -> None:
    assert matches(REGISTRY) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_everything_to_the_hash_and_names_no_source(lock: str) -> None:
    entries = requirements(lock)
    assert entries
    loose = [name for name, entry in entries.items() if "==" not in entry or "--hash=sha256:" not in entry]
    assert loose == []
    assert [entry for entry in entries.values() if "://" in entry or " @ " in entry] == []


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = pyproject["project"]["dependencies"] + pyproject["build-system"]["requires"]
    extras = [line for extra in pyproject["project"]["optional-dependencies"].values() for line in extra]
    for lock, wanted in zip(LOCKS, (runtime, runtime + extras), strict=True):
        entries = requirements(lock)
        for requirement in map(Requirement, wanted):
            entry = entries.get(canonicalize_name(requirement.name))
            assert entry is not None, f"{requirement.name} is missing from {lock}: run make lock"
            version = re.split(r"[ ;]", entry.partition("==")[2], maxsplit=1)[0]
            assert requirement.specifier.contains(version), (
                f"{lock} has {version} for {requirement}: run make lock"
            )


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    found = re.search(
        r'^readonly RELEASES="(.*)"$', (ROOT / "scripts" / "find-pythons").read_text(), re.MULTILINE
    )
    assert found
    assert sorted(found[1].split()) == sorted(classified)
    readme = re.search(r"with Python ([\d., or]+), and `make`", (ROOT / "README.md").read_text())
    assert readme
    assert re.findall(r"3\.\d+", readme[1]) == classified


def test_no_script_can_end_with_a_broken_pipe() -> None:
    """Under pipefail, a reader that leaves early (head, grep -q) ends the whole script, though only now and then."""
    scripts = [ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "scripts").iterdir()]
    early = re.compile(r"[^|]\|\s*(head|grep\s+-\w*[qm]|sed\s+-n\s+\S*q)\b")
    assert {path.name: found[0] for path in scripts if (found := early.search(path.read_text()))} == {}


def test_the_locks_agree_with_each_other() -> None:
    runtime, dev = map(requirements, LOCKS)
    assert {name: entry for name, entry in runtime.items() if dev.get(name) != entry} == {}


def test_the_browser_tests_lock_pins_hashes_and_names_no_source() -> None:
    lock = json.loads((ROOT / "tests" / "browser" / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if "integrity" not in package] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in repository_files()
        if path.suffix == ".py"
        and (source := path.read_text()).strip()
        and not ast.get_docstring(ast.parse(source))
    ]
    assert silent == []


def test_every_module_has_one_subject() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in repository_files()
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) > MAX_MODULE_LINES
    }
    assert long == {}


def inline_code(template: str) -> list[str]:
    """What a template has that the content security policy forbids."""
    # Each expression becomes blanks, so that `<a {{ 'x' if a > b }} onclick=…>` keeps its shape.
    html = JINJA.sub(lambda expression: " " * len(expression.group()), template)
    return [what for what, pattern in INLINE.items() if pattern.search(html)]


def test_no_template_has_inline_code() -> None:
    offenders = {
        str(path.relative_to(ROOT)): found
        for path in sorted(PACKAGE.rglob("templates/**/*"))
        if path.is_file() and (found := inline_code(path.read_text()))
    }
    assert offenders == {}


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("<script>go()</script>", ["inline script"]),
        ('<script type="module" src="/static/a.js"></script>', []),
        ("<style>a {}</style>", ["inline style element"]),
        ('<p\n  style="x">', ["style attribute"]),
        ('<b {{ "x" if a > b }} onclick="go()">', ["event handler attribute"]),
        ('<b hx-on:click="go()">', ["event handler attribute"]),
        ('<a href="javascript:go()">', ["javascript: address"]),
        ('{% set one = 1 %}<p class="on" data-style="x">{{ one }} on = x</p>', []),
    ],
)
def test_the_template_guard_knows_code_from_text(template: str, found: list[str]) -> None:
    assert inline_code(template) == found
