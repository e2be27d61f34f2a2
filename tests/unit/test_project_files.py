"""The files around the code agree with each other and hold no place of any one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = "requirements.txt"
DEV = "requirements-dev.txt"


def _pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def _ranges(name: str) -> list[Requirement]:
    if name == RUN:
        texts = PROJECT["project"]["dependencies"]
    else:
        texts = PROJECT["dependency-groups"]["dev"]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("name", [RUN, DEV])
def test_every_line_pins_one_version(name: str) -> None:
    """Every line is `package==version`: no range, no address, no option."""
    for pin in _pins(name):
        assert re.fullmatch(r"==[^*]+", str(pin.specifier)), pin
        assert pin.url is None


@pytest.mark.parametrize("name", [RUN, DEV])
def test_the_pins_are_within_the_ranges(name: str) -> None:
    """The pinned versions satisfy pyproject.toml's ranges; tools may be extras of what runs."""
    files = (RUN,) if name == RUN else (RUN, DEV)
    pins = {canonicalize_name(pin.name): pin for file in files for pin in _pins(file)}
    for wanted in _ranges(name):
        (version,) = pins[canonicalize_name(wanted.name)].specifier
        assert wanted.specifier.contains(version.version, prereleases=True), wanted


def test_no_package_is_pinned_twice() -> None:
    """The two files never contradict each other."""
    names = [canonicalize_name(pin.name) for pin in (*_pins(RUN), *_pins(DEV))]
    assert len(names) == len(set(names))


def test_every_import_is_a_declared_dependency() -> None:
    """What the product imports is named in pyproject.toml, not left to other packages' needs."""
    modules: set[str] = set()
    for file in (ROOT / "medhive").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
    # pydantic_core is pydantic's other half, pinned by it; ray and grpc come with the extra
    modules -= {*sys.stdlib_module_names, "medhive", "pydantic_core", "ray", "grpc"}
    declared = {canonicalize_name(item.name) for item in _ranges(RUN)}
    owners = packages_distributions()
    assert [
        m for m in sorted(modules) if not declared & set(map(canonicalize_name, owners[m]))
    ] == []


# none of these patterns matches its own source
FORBIDDEN = {
    "a package registry": r"\b(pypi|npmjs|debian|pythonhosted)\.org\b|\b(ghcr|docker|quay)\.io/",
    "an index option": r"--(extra-)?index-url|--find[-]links|--trusted[-]host",
    "a machine's path": r"(?<![\w.~/*-])/(root|work|tmp|(home|Users)/\w+)(?=[/\s\"'`)]|$)",
}


def _files() -> list[Path]:
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone: the files that belong to the project are not known")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def _describes_a_container(file: Path) -> bool:
    name = str(file.relative_to(ROOT))
    return name.startswith(
        ("Dockerfile", "compose.", "deploy/", "docs/how-to/docker.md", "tests/docker/")
    )


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names_a_place(what: str) -> None:
    """No file of the project names a registry, an index or one machine's folder."""
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for file in _files():
        if what == "a machine's path" and _describes_a_container(file):
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a package registry", "https://py|pi.org/simple"),
        ("an index option", "pip install --in|dex-url=x"),
        ("a machine's path", 'home = "/ro|ot/.medhive"'),
        ("a machine's path", "cd /wo|rk/main"),
        ("a machine's path", "see /t|mp/x"),
    ],
)
def test_the_search_finds_what_it_looks_for(what: str, line: str) -> None:
    """The patterns match real examples."""
    # broken by a bar, or the search would find them here
    assert re.search(FORBIDDEN[what], line.replace("|", ""))
