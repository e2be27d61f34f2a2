"""Missing values between real processes over real TLS."""

from __future__ import annotations

import json
from pathlib import Path

from medhive.reports.result import Result, now
from medhive.server.conduct import summarise
from medhive.server.rounds import RoundRecord
from medhive.simulation.inline import run_inline
from medhive.studyfile import read_study
from support import HEART_SITES, HEART_STUDY, Programs

RUN = {"missing": "indicator", "min-available-clients": 4, "num-server-rounds": 2}


class Silent:
    """Watches a run and says nothing."""

    def phase(self, name: str) -> None: ...
    def round_done(self, record: RoundRecord) -> None: ...
    def joined(self, site: str, n_samples: int) -> None: ...
    def left(self, site: str, reason: str) -> None: ...
    def waiting(self, sites: list[str], minimum: int, seconds: float) -> None: ...


def test_a_federation_fills_and_counts_as_a_simulation_does(tmp_path: Path) -> None:
    """Four clients with incomplete rows give the simulation's coefficients and counts."""
    study = read_study(HEART_STUDY, RUN)
    fit = run_inline(study, HEART_SITES, Silent())
    expected = summarise(study, fit, now(), now())
    config = "missing='indicator' min-available-clients=4 num-server-rounds=2"
    with Programs(tmp_path) as programs:
        server = programs.server(HEART_STUDY, "-c", config)
        clients = [server.client(name, path) for name, path in HEART_SITES.items()]
        found = Result.model_validate(json.loads(server.result().read_text(encoding="utf-8")))
        server.program.ends(0)
        said = [client.ends(0) for client in clients]
    assert found.terms == expected.terms
    assert found.missing == expected.missing
    assert found.missing["trestbps"].n == 59
    assert found.missing["trestbps"].by_site["va"] is None
    assert {site.name: site.n_samples for site in found.sites}["va"] == 200
    assert all("dropped" not in text for text in said)
