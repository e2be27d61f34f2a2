"""What a person can give wrongly, and what the command line says to it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from medhive.cli.main import run
from medhive.client.answer import Site
from medhive.errors import RefusalError
from medhive.flower.wire import Task
from medhive.identity.authority import prepare_server
from medhive.reports.result import now
from medhive.studyfile import parse_study
from support import free_port

STUDY = """\
[study]
name = "small"
outcome = { column = "num", event = 1 }

[run]
strategy = "fedavg"
num-server-rounds = 2

[privacy]
min-rows = 20

[[features]]
name = "age"
kind = "continuous"
range = [18, 110]

[[features]]
name = "sex"
kind = "binary"

[[features]]
name = "cp"
kind = "categorical"
levels = [1, 2, 3]
"""
HEADER = "age,sex,cp,num"
ROWS = [f"{40 + i},{i % 2},{1 + i % 3},{(i // 3) % 2}" for i in range(40)]
GOOD = "\n".join([HEADER, *ROWS]) + "\n"


SIMULATE = ["simulate", "study.toml", "--site", "a=a.csv", "--site", "b=b.csv"]
CLIENT = ["client", "--id", "a", "--data", "a.csv"]
SERVER = ["server", "study.toml", "--port", "0"]


@dataclass
class Said:
    """How a command ended and what it printed as an error."""

    code: int
    errors: str


Medhive = Callable[..., Said]


@pytest.fixture
def medhive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Medhive:
    """The command line in this process, in a folder with a good study and two good sites."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("MEDHIVE_", "MLFLOW_")) or name in {"SERVER_ADDRESS", "CLIENT_ID"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEDHIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "study.toml").write_text(STUDY)
    for site in ("a", "b"):
        (tmp_path / f"{site}.csv").write_text(GOOD)
    (tmp_path / "folder").mkdir()
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["medhive", *arguments])
        try:
            run()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        else:
            code = 0
        finally:
            signal.signal(signal.SIGTERM, before)
        return Said(code, capsys.readouterr().err)

    return call


def _refused(said: Said, code: int, *words: str) -> None:
    """Check the exit code, that cause and place are named, and that there is a next step."""
    assert said.code == code, said.errors
    for word in words:
        assert word in said.errors, said.errors
    assert " next: " in said.errors or "--help" in said.errors, said.errors
    assert "Traceback" not in said.errors
    debris = [path for path in Path().rglob("*") if path.suffix in {".tmp", ".part"}]
    assert not debris
    assert not list(Path().rglob("result.json"))


def _simulate(medhive: Medhive, *more: str) -> Said:
    sites = ("--site", "a=a.csv", "--site", "b=b.csv")
    return medhive("simulate", "study.toml", *sites, "--output", "result.json", *more)


def test_the_good_study_runs(medhive: Medhive) -> None:
    """What the cases below spoil is good before they do."""
    said = _simulate(medhive)
    assert said.code == 0, said.errors
    assert Path("result.json").exists()


STUDIES = {
    "broken TOML": ('name = "small"', 'name = "small', "line 2", "not valid TOML"),
    "a key twice": ("[run]", '[run]\nstrategy = "fedavg"', "line 7", "TOML"),
    "unknown key": ("num-server-rounds", "num-rounds", "line 7", "num-rounds",
                    'did you mean "num-server-rounds"?'),
    "unknown section": ("[privacy]", "[privcy]", "privcy", 'did you mean "privacy"?'),
    "unknown strategy": ('"fedavg"', '"fedavgg"', "line 6", "run.strategy",
                         'did you mean "fedavg"?'),
    "out-of-range value": ("rounds = 2", "rounds = 0", "line 7", "run.num-server-rounds"),
    "text for a number": ("rounds = 2", 'rounds = "2"', "line 7", "whole number"),
    "swapped range": ("[18, 110]", "[110, 18]", "line 15", "swap the two numbers"),
    "one level": ("[1, 2, 3]", "[1]", "line 24", "at least two levels"),
    "a feature twice": ('"sex"', '"age"', "line 18", "already used"),
    "no event": (", event = 1", "", "line 3", '"event" is missing'),
    "idle key": ("[privacy]", "eta = 0.1\n[privacy]", "line 9", "eta has no effect"),
}  # fmt: skip


@pytest.mark.parametrize("case", STUDIES)
def test_a_bad_study_is_explained(medhive: Medhive, case: str) -> None:
    """The error names file, line and setting of the study, and what to write instead."""
    old, new, *words = STUDIES[case]
    assert STUDY.count(old) == 1
    Path("study.toml").write_text(STUDY.replace(old, new))
    _refused(_simulate(medhive), 2, "study.toml", *words)


def _row(number: int, text: str) -> bytes:
    """Return the good file with one row replaced; row 1 is on line 2."""
    rows = [*ROWS[: number - 1], text, *ROWS[number:]]
    return "\n".join([HEADER, *rows, ""]).encode()


def _column(position: int, change: Callable[[int, str], str]) -> bytes:
    table = [row.split(",") for row in ROWS]
    for number, row in enumerate(table):
        row[position] = change(number, row[position])
    return "\n".join([HEADER, *(",".join(row) for row in table), ""]).encode()


DATA: dict[str, tuple[bytes, int, *tuple[str, ...]]] = {
    "empty file": (b"", 2, "the file is empty"),
    "header only": ((HEADER + "\n").encode(), 2, "line 1", "no row of data"),
    "wrong separator": (GOOD.replace(",", ":").encode(), 2, "line 1", "only one column"),
    "Latin-1": (_row(5, "44,0,2,é").decode().encode("latin-1"), 2, "line 6", "UTF-8", "0xE9"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(100), 2, "not a CSV file"),
    "short row": (_row(7, "46,1,1"), 2, "line 8", "3 fields, fewer than the header's 4"),
    "long row": (_row(7, "46,1,1,0,9"), 2, "line 8", "5 fields, more than the header's 4"),
    "open quote": (_row(7, '46,1,"1,0'), 2, "line 8", "quote"),
    "duplicate column": (GOOD.replace(HEADER, "age,sex,cp,num,sex").encode(), 2, "line 1",
                         'column "sex"', "same name"),
    "nameless column": (GOOD.replace(HEADER, "age,,cp,num").encode(), 2, "line 1", "has no name"),
    "missing column": (GOOD.replace("age,", "Agee,").encode(), 2, "line 1", 'column "age"',
                       'rename "Agee" to "age"'),
    "text for a number": (_row(9, "old,0,3,0"), 2, "line 10", 'column "age"', '"old"'),
    "decimal comma": (GOOD.replace(",", ";").replace("48;", "48,5;", 1).encode(), 2, "line 10",
                      'column "age"', "decimal comma"),
    "infinite value": (_row(9, "inf,0,3,0"), 2, "line 10", 'column "age"', "not a finite number"),
    "out-of-range value": (_row(9, "188,0,3,0"), 2, "line 10", 'column "age"', "18 to 110"),
    "word for a binary": (_row(9, "48,yes,3,0"), 2, "line 10", 'column "sex"', "levels 0, 1"),
    "unknown level": (_row(9, "48,0,4,0"), 2, "line 10", 'column "cp"', "levels 1, 2, 3"),
    "outcome of three values": (_row(9, "48,0,3,2"), 2, "line 10", 'column "num"',
                                "it may have one"),
    "no outcome at all": (_column(3, lambda *_: ""), 2, 'column "num"', "missing in every row"),
    "no complete row": (
        "\n".join([HEADER, *(",".join([*row.split(",")[:2], "", row[-1]]) for row in ROWS), ""])
        .encode(), 2, 'column "cp"', "no row is complete"),
    "too few rows": ("\n".join([HEADER, *ROWS[:5], ""]).encode(), 4, "min-rows (20)"),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_bad_data_are_explained(medhive: Medhive, case: str) -> None:
    """The error names file, line and column, and what to change in the file or the study."""
    content, code, *words = DATA[case]
    assert content != GOOD.encode()
    Path("a.csv").write_bytes(content)
    file = ["a.csv"] if code == 2 else []
    _refused(_simulate(medhive), code, *file, *words)


def _authority() -> str:
    return str(prepare_server(Path("authority"), [], now()).ca)


def test_a_client_reads_its_file_before_it_connects(medhive: Medhive) -> None:
    """A site with a bad file hears so at once, whether there is a server or not."""
    Path("a.csv").write_bytes(b"PK\x03\x04" + bytes(100))
    said = medhive(*CLIENT, "--server", f"127.0.0.1:{free_port()}", "--ca", _authority())
    _refused(said, 2, "a.csv", "not a CSV file")


@pytest.mark.parametrize("value", ["1", "0"])
def test_an_outcome_that_does_not_vary_is_explained(medhive: Medhive, value: str) -> None:
    """Where every row of every site has the same outcome there is nothing to fit."""
    for site in ("a", "b"):
        Path(f"{site}.csv").write_bytes(_column(3, lambda *_: value))
    _refused(_simulate(medhive), 2, 'column "num"', "every row" if value == "1" else "no row")


def test_extra_columns_can_be_refused(medhive: Medhive) -> None:
    """A study may refuse files with columns that it does not name."""
    study = STUDY.replace("event = 1 }", 'event = 1 }\nextra-columns = "refused"')
    Path("study.toml").write_text(study)
    Path("b.csv").write_text(GOOD.replace("\n", ",x\n").replace(HEADER + ",x", HEADER + ",name"))
    _refused(_simulate(medhive), 2, "b.csv", "line 1", 'column "name"', "delete the column")


OPTIONS: dict[str, tuple[list[str], *tuple[str, ...]]] = {
    "no study": (["simulate", "no.toml", *SIMULATE[2:]], "no.toml", "no such study file"),
    "folder as study": (["simulate", "folder", *SIMULATE[2:]], "folder", "not a study file"),
    "server without study": (["server", "no.toml"], "no.toml", "no such study file"),
    "config nonsense": ([*SIMULATE, "-c", "rounds"], "--run-config", "not KEY=VALUE"),
    "config unknown key": ([*SIMULATE, "-c", "num-rounds=3"], "--run-config", "num-rounds",
                           "num-server-rounds"),
    "config bad value": ([*SIMULATE, "-c", "C=-1"], "--run-config", "C"),
    "config bad word": ([*SIMULATE, "-c", "penalty=l3"], "--run-config", "penalty", "l2"),
    "too few sites": ([*SIMULATE[:4], "-c", "min-available-clients=3"], "1 of 3 sites", "--site"),
    "no data file": ([*SIMULATE, "--site", "c=c.csv"], "c.csv", "no such file"),
    "folder as data": ([*SIMULATE, "--site", "c=folder"], "folder", "not a file"),
    "no pair": ([*SIMULATE, "--site", "c.csv"], "--site", "not NAME=FILE"),
    "no file in the pair": ([*SIMULATE, "--site", "c="], "--site", "not NAME=FILE"),
    "site twice": ([*SIMULATE, "--site", "a=b.csv"], "--site", "given twice"),
    "slash in a site": ([*SIMULATE, "--site", "x/y=b.csv"], "--site", "not a name for a site"),
    "output in no folder": ([*SIMULATE, "--output", "none/result.json"], "--output",
                            "there is no folder none"),
    "output is a folder": ([*SIMULATE, "--output", "folder"], "--output", "this is a folder"),
    "ray address alone": ([*SIMULATE, "--ray-address", "h:1"], "--ray-address", "--backend ray"),
    "unknown backend": ([*SIMULATE, "--backend", "dask"], "--backend", "inline"),
    "unknown option": ([*SIMULATE, "--outputt", "x"], "--outputt"),
    "unknown command": (["simulat"], "simulat"),
    "no port": ([*CLIENT, "--server", "localhost"], "--server", "not HOST:PORT"),
    "port too high": ([*CLIENT, "--server", "localhost:70000"], "--server", "not HOST:PORT"),
    "a web page": ([*CLIENT, "--server", "http://a.example/x"], "--server", "not HOST:PORT"),
    "slash in --id": (["client", "--id", "../a", "--data", "a.csv", "--server", "h:1"], "--id",
                      "not a name for a site"),
    "no CA file": ([*CLIENT, "--server", "localhost:1", "--ca", "no.pem"], "no.pem", "--ca"),
    "no CA at all": ([*CLIENT, "--server", "far.example:9092"], "--ca"),
    "not a CA": ([*CLIENT, "--server", "localhost:1", "--ca", "a.csv"], "a.csv", "PEM"),
    "client's study": ([*CLIENT, "--server", "h:1", "--study", "no.toml"], "no.toml"),
    "bad port": (["server", "study.toml", "--port", "70000"], "--port", "65535"),
    "MLflow nonsense": ([*SERVER, "--mlflow", "my mlflow"], "--mlflow", "http://host:port"),
    "MLflow in no folder": ([*SERVER, "--mlflow", "sqlite:///none/x.db"], "--mlflow",
                            "does not exist"),
    "MLflow is a table": ([*SERVER, "--mlflow", "sqlite:///a.csv"], "--mlflow", "SQLite"),
    "output is a file": ([*SERVER, "--output", "a.csv"], "--output", "cannot be used"),
    "home is a file": ([*SERVER, "--home", "a.csv"], "a.csv", "--home"),
    "unknown data set": (["demo", "--dataset", "iris"], '"iris"', "heart-disease or wdbc"),
    "one site": (["demo", "--dataset", "wdbc", "--sites", "1"], "2 to 56 sites, not 1"),
    "99 sites": (["demo", "--dataset", "wdbc", "--sites", "99"], "2 to 56 sites, not 99"),
    "three hearts": (["demo", "--sites", "3"], "4 sites, not 3"),
    "demo into a file": (["demo", "--output", "a.csv"], "a.csv", "--output"),
}  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS)
def test_a_bad_option_is_explained(medhive: Medhive, case: str) -> None:
    """The error names the option or file and what to give instead."""
    arguments, *words = OPTIONS[case]
    _refused(medhive(*arguments), 2, *words)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_ray_that_is_not_installed_is_named(medhive: Medhive) -> None:
    """The error says how to install what the backend needs."""
    _refused(_simulate(medhive, "--backend", "ray"), 2, "--backend", "pip install")


def test_a_server_that_never_answers_is_given_up(medhive: Medhive) -> None:
    """With --give-up-after a client does not wait for ever."""
    address = f"127.0.0.1:{free_port()}"
    said = medhive(*CLIENT, "--server", address, "--ca", _authority(), "--give-up-after", "1")
    _refused(said, 2, address, "cannot be reached")


def test_a_certificate_that_is_cut_is_explained(medhive: Medhive) -> None:
    """A file that only begins as a certificate is named, whether anybody listens or not."""
    Path("ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    said = medhive(*CLIENT, "--server", f"127.0.0.1:{free_port()}", "--ca", "ca.pem",
                   "--give-up-after", "1")  # fmt: skip
    _refused(said, 2, "--ca")


def test_a_busy_port_is_named(medhive: Medhive) -> None:
    """A port that another program has is named."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        _refused(medhive("server", "study.toml", "--port", str(port)), 2, f"port {port} is busy")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "höst"])
def test_a_host_that_is_not_here_is_named(medhive: Medhive, host: str) -> None:
    """A server cannot listen at an address that is not this machine's, and says so."""
    home = Path("home") / "server"
    assert medhive("init", str(home)).code == 0
    said = medhive("server", "study.toml", "--port", "0", "--host", host)
    _refused(said, 2, host, "--host")


def test_mlflow_that_does_not_answer_is_named(medhive: Medhive) -> None:
    """The server insists, before anything runs, that the MLflow it was given answers."""
    uri = f"http://127.0.0.1:{free_port()}"
    _refused(medhive(*SERVER, "--mlflow", uri), 2, uri, "cannot be reached", "start MLflow")


def test_a_promise_that_cannot_be_kept_is_refused(medhive: Medhive) -> None:
    """The server does not run a study that promises masking, because it would not be masked."""
    Path("study.toml").write_text(
        STUDY.replace("[privacy]\n", "[privacy]\nsecure-aggregation = true\n")
    )
    _refused(
        medhive(*SERVER),
        2,
        "study.toml",
        "privacy.secure-aggregation",
        "unmasked inside TLS",
        "secure-aggregation = false",
    )
    said = _simulate(medhive)
    assert said.code == 0
    assert "secure-aggregation = true has no effect in a simulation" in said.errors


def test_a_site_refuses_a_promise_that_cannot_be_kept() -> None:
    """A client does not answer for a contract that promises masking, whoever sends it."""
    text = STUDY.replace("[privacy]\n", "[privacy]\nsecure-aggregation = true\n")
    study = parse_study(text, file="study.toml")
    site = Site("a", lambda _: pytest.fail("the rows were read"))
    with pytest.raises(RefusalError, match="unmasked inside TLS"):
        site.answer(Task("join", 0, 0, study.canonical))
