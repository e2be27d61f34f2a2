"""What a user types: the services of compose.yaml, and clients beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from containers import ROOT, ROUNDS, TOKEN, Stack, await_line, inspect, logs, now, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]


@pytest.fixture
def start_two(demo: Stack) -> Iterator[Callable[..., list[str]]]:
    """Return what starts two clients with the very words that the server prints."""
    found = await_line(demo.server, r'docker run -e SERVER_ADDRESS="([^"]+)"', "0")

    def start(*options: str) -> list[str]:
        return [
            demo.client(*options, "-e", f"SERVER_ADDRESS={found[1]}", "-e", f"CLIENT_ID={number}")
            for number in (1, 2)
        ]

    yield start
    demo.remove_clients()


def ask_mlflow(stack: Stack, path: str, question: dict[str, Any] | None = None) -> Any:
    request = Request(
        f"http://localhost:{stack.mlflow_port}/api/2.0/mlflow/{path}",
        data=None if question is None else json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - http
        return json.load(answer)


def last_metrics(stack: Stack) -> dict[str, float]:
    """Return what MLflow has of the newest run that was finished."""
    found = ask_mlflow(stack, "experiments/get-by-name?experiment_name=medhive")
    question = {
        "experiment_ids": [found["experiment"]["experiment_id"]],
        "filter": "attributes.status = 'FINISHED'",
        "order_by": ["start_time DESC"],
        "max_results": 1,
    }
    run = ask_mlflow(stack, "runs/search", question)["runs"][0]
    return {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}


def test_mlflow_answers_a_browser(demo: Stack) -> None:
    """MLflow's page is on its published port, and only under names that are its own."""
    page = f"http://localhost:{demo.mlflow_port}/"
    with urlopen(page, timeout=30) as answer:
        assert b"<title>MLflow</title>" in answer.read()
    with pytest.raises(OSError, match="403"):
        urlopen(Request(page, headers={"Host": "elsewhere.example"}), timeout=30)


def finish(stack: Stack, clients: list[str], since: str) -> None:
    """Await the end of the run, which must be whole in MLflow and show no token."""
    for client in clients:
        stack.ended(client)
    await_line(stack.server, f"{ROUNDS}/{ROUNDS} ", since)
    await_line(stack.server, "ready for the next run", since)
    assert last_metrics(stack)["rounds_completed"] == ROUNDS
    said = "".join(logs(name) for name in (stack.server, stack.mlflow, *clients))
    assert TOKEN not in said


def test_two_clients_train_to_the_end(demo: Stack, start_two: Callable[..., list[str]]) -> None:
    """The commands of the README start a study that ends, and MLflow has every round."""
    since = now()
    finish(demo, start_two(), since)


@pytest.mark.parametrize(
    ("what", "how", "options"),
    [
        ("client", "restart --time 5", ()),
        ("client", "kill", ()),
        ("mlflow", "kill", ()),
        ("server", "kill", ()),
        # a server that is stopped in order sends its clients away; Docker starts them again
        ("server", "restart --time 5", ("--restart", "on-failure")),
    ],
)
def test_a_run_ends_whatever_is_restarted(
    demo: Stack,
    start_two: Callable[..., list[str]],
    what: str,
    how: str,
    options: tuple[str, ...],
) -> None:
    """A run ends also where a container is killed, or stopped and started, in the middle."""
    since = now()
    clients = start_two(*options)
    container = {"client": clients[0], "server": demo.server, "mlflow": demo.mlflow}[what]
    await_line(demo.server, rf" \d\d/{ROUNDS} ", since)
    run("docker", *how.split(), container)
    assert "result on" not in logs(demo.server, since), "the run was over before"
    if how == "kill":
        run("docker", "start", container)
    finish(demo, clients, since)


def test_services_have_no_rights(demo: Stack) -> None:
    """Both services run as an unknown user, without capabilities, on a disk they cannot write."""
    for container in (demo.server, demo.mlflow):
        found = inspect(container)
        host = found["HostConfig"]
        assert found["Config"]["User"] == "10001:10001"
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert not host["Privileged"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["Memory"] > 0
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        status = run("docker", "exec", container, "cat", "/proc/1/status").split("\n")
        lines = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        assert set(lines["Uid"].split()) == {"10001"}
        assert int(lines["CapEff"], 16) == int(lines["CapBnd"], 16) == 0
        assert lines["NoNewPrivs"] == "1"
        with pytest.raises(AssertionError, match="Read-only file system"):
            run("docker", "exec", container, "touch", "/opt/medhive/here", "/here")


def test_a_refused_tunnel_does_not_show_the_token(demo: Stack) -> None:
    """A tunnel that does not come up ends the server with a reason in which no token stands."""
    asked = "run --rm --no-deps -e MEDHIVE_TUNNEL=ngrok -e NGROK_PATH=/bin/false server"
    with pytest.raises(AssertionError, match="ended with 2:") as failure:
        demo.compose(*asked.split())
    assert "ngrok" in str(failure.value)
    assert TOKEN not in str(failure.value)


def test_hospitals_join_a_study_with_their_own_files(
    images: None, network: Path, tmp_path: Path
) -> None:
    """Invited sites with files of their own fit a study; who is not invited is refused."""
    bundled = ROOT / "medhive" / "data" / "bundled"
    files = [ROOT / "compose.yaml", ROOT / "deploy" / "study.yaml", network]
    stack = Stack(files, {"MEDHIVE_STUDY_FILE": str(bundled / "heart-disease.toml")})
    rights = "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges"
    try:
        stack.up()
        address = await_line(stack.server, r"--address (\S+)", "0")[1]
        stranger = stack.client("-e", f"SERVER_ADDRESS={address}", "-e", "CLIENT_ID=stranger")
        assert run("docker", "wait", stranger, seconds=60).strip() not in ("0", "1"), logs(stranger)
        for site in ("cleveland", "hungarian"):
            folder = tmp_path / site
            folder.mkdir(mode=0o755)
            shutil.copy(bundled / f"{site}.csv", folder / "data.csv")
            invited = stack.compose("exec", "-T", "server", "medhive", "invite", site)
            code = next(word for word in invited.split() if word.startswith("medhive1."))
            stack.client(*rights.split(), "-e", f"MEDHIVE_JOIN={code}", "-v", f"{folder}:/data:ro")
        for client in stack.clients[1:]:
            stack.ended(client)
            assert inspect(client)["HostConfig"]["ReadonlyRootfs"]
        await_line(stack.server, "result on all rows of 2 sites", "0")
        assert "stranger joined" not in logs(stack.server)
    finally:
        stack.down()
    assert stack.name not in run("docker", "ps", "--all", "--format", "{{.Names}}")
