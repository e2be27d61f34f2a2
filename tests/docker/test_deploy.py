"""The files for hospitals that run the client without Docker's command line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit with a program that is on this machine."""
    text = (DEPLOY / "systemd" / "medhive-client.service").read_text(encoding="utf-8")
    file = tmp_path / "medhive-client.service"
    program = "/opt/medhive/bin/medhive"
    assert f"ExecStart={program} client\n" in text
    file.write_text(text.replace(program, str(shutil.which("true"))), encoding="utf-8")
    return file


@needs_systemd
def test_systemd_understands_the_unit(unit: Path) -> None:
    """Every setting of the unit is one that systemd knows."""
    assert "medhive-client" not in analyze("verify", str(unit))


@needs_systemd
def test_the_unit_is_hardened(unit: Path) -> None:
    """By systemd's own measure, from 0 to 10, the unit exposes the machine less than 1.5."""
    analyze("security", "--offline=true", "--threshold=15", "--no-pager", str(unit))


@pytest.mark.parametrize("file", ["client.yaml", "secret.yaml"])
def test_kubernetes_understands_the_manifests(file: str) -> None:
    """The manifests are what the schemas of Kubernetes say, without unknown keys."""
    validator = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate here")
    for document in yaml.safe_load_all((DEPLOY / "kubernetes" / file).read_text(encoding="utf-8")):
        validator.validate(document, "1.31", strict=True)


def test_the_pod_has_no_rights() -> None:
    """The pod is not root, writes only its key and memory, and reads its rows."""
    text = (DEPLOY / "kubernetes" / "client.yaml").read_text(encoding="utf-8")
    claim, deployment, policy = yaml.safe_load_all(text)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert mounts["data"]["readOnly"] is True
    assert claim["metadata"]["name"] == "medhive-key"
    assert "ingress" not in policy["spec"]
    assert "Ingress" in policy["spec"]["policyTypes"]


def test_the_client_runs_the_versions_that_are_tested() -> None:
    """Every version in the client's image is the one that the server and the tests have."""

    def pins(name: str) -> set[str]:
        lines = (DEPLOY.parent / name).read_text(encoding="utf-8").splitlines()
        return {line for line in lines if line and not line.startswith("#")}

    assert pins("requirements-client.txt") <= pins("requirements.txt")
