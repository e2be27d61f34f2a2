"""What a site reads and answers when a study is described."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from describing import InMemory
from medhive.client.answer import Site, Tables
from medhive.data.site import load_site
from medhive.errors import DataError, FederationError, RefusalError
from medhive.flower.exchange import Answer
from medhive.flower.wire import JOIN, JOIN_TO_DESCRIBE, Task
from medhive.learning.algorithm import Algorithm
from medhive.learning.cells import count
from medhive.privacy.disclosure import HIDDEN
from medhive.rows import Array, Rows
from medhive.server.description import STARTS, describe
from medhive.study import Study


def study(min_cell: int = 5) -> Study:
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"column": "y", "event": 1}},
            "privacy": {"min-rows": 5, "min-cell": min_cell},
            "features": [
                {"name": "age", "kind": "continuous", "range": [18, 110]},
                {"name": "stage", "kind": "categorical", "levels": ["I", "II"]},
                {"name": "weight", "kind": "continuous"},
            ],
        }
    )


def file(folder: Path, text: str, n: int = 10) -> Path:
    """Write some lines, and `n` rows that are as they should be."""
    path = folder / "rows.csv"
    path.write_text("age,stage,y\n" + text + "50,I,1\n60,II,0\n" * (n // 2), encoding="utf-8")
    return path


def site(path: Path, tables: Tables | None = None) -> Site:
    return Site("a", partial(load_site, path, site="a"), tables=tables)


def ask(site: Site, kind: str, contract: Study) -> Array:
    return site.answer(Task(kind, 0, 0, contract.canonical)).sums["cells"]


def test_rows_to_describe_keep_what_is_missing_broken_or_absent(tmp_path: Path) -> None:
    """Such rows count, each kind for itself; rows without an outcome do not."""
    lines = "300,I,1\n,II,0\nold,I,0\n50,IV,1\n50,I,\n"
    data = load_site(file(tmp_path, lines), study(), "a", keep_missing=True)
    assert (len(data.train), data.test) == (14, None)
    counts = count(data.train, study()).sum(axis=1).tolist()
    age, stage, weight = [11, 1, 2], [13, 0, 1, 7, 6], [0, 14, 0]
    assert counts == [14, *age, *stage, *weight]


def test_a_model_refuses_what_a_description_reports(tmp_path: Path) -> None:
    """The same file cannot be used to fit the model: the column is missing."""
    path = file(tmp_path, "300,I,1\n")
    assert site(path).answer(Task(JOIN_TO_DESCRIBE, 0, 0, study().canonical)).n_samples == 11
    with pytest.raises(DataError, match="the column is missing"):
        site(path).answer(Task(JOIN, 0, 0, study().canonical))


def test_the_outcome_must_be_right_even_in_a_description(tmp_path: Path) -> None:
    """A third value of the outcome is an error."""
    path = file(tmp_path, "50,I,2\n")
    with pytest.raises(DataError, match="outcome"):
        site(path).answer(Task(JOIN_TO_DESCRIBE, 0, 0, study().canonical))


def test_a_site_shows_its_table_only_where_it_allows_it(tmp_path: Path) -> None:
    """Without a word from the site everything is hidden; its file or option allows a table."""
    path = file(tmp_path, "")
    closed = ask(site(path), "describe-site", study())
    assert (closed == HIDDEN).all()
    assert ask(site(path, Tables(allowed=True)), "describe-site", study())[0] == 10
    settings = tmp_path / "site.toml"
    settings.write_text('[data]\nfile = "rows.csv"\n[limits]\nsite-tables = true\n')
    assert ask(site(settings), "describe-site", study())[0] == 10


def test_a_site_can_raise_the_floor_and_never_lower_it(tmp_path: Path) -> None:
    """Levels with 7 and 8 rows are hidden with a floor of 9 of the site or of the contract."""
    path = file(tmp_path, "50,I,1\n50,I,0\n50,I,0\n50,II,1\n50,II,1\n", 10)
    levels = slice(7, 9)
    shown = ask(site(path, Tables(allowed=True)), "describe-site", study())
    assert shown[levels].tolist() == [8, 7]
    settings = tmp_path / "site.toml"
    limits = "[limits]\nsite-tables = true\nmin-cell = 9\n"
    settings.write_text(f'[data]\nfile = "rows.csv"\n{limits}')
    assert (ask(site(settings), "describe-site", study())[levels] == HIDDEN).all()
    lower = Tables(allowed=True, min_cell=5)
    assert (ask(site(path, lower), "describe-site", study(9))[levels] == HIDDEN).all()


def test_a_site_with_fewer_rows_than_the_floor_takes_no_part(tmp_path: Path) -> None:
    """Ten rows are no part of a description whose floor is 12; the number is not said."""
    with pytest.raises(RefusalError) as refusal:
        site(file(tmp_path, "")).answer(Task(JOIN_TO_DESCRIBE, 0, 0, study(12).canonical))
    assert "10" not in refusal.value.cause


class Leaving(InMemory):
    """A federation that a site leaves, or leaves and joins for ever."""

    def __init__(self, contract: Study, sites: dict[str, Rows], *, for_ever: bool) -> None:
        super().__init__(contract, sites, [])
        self.away: Rows | None = None
        self.for_ever = for_ever

    def ask(self, algorithm: Algorithm, state: dict[str, Array], server_round: int) -> Answer:
        if algorithm.name == "describe-spread" and (self.away is None or self.for_ever):
            self.away = self.sites.pop("b")
        answer = super().ask(algorithm, state, server_round)
        if self.for_ever and self.away is not None:
            self.sites["b"] = self.away
        return answer


def _sites() -> dict[str, Rows]:
    rng = np.random.default_rng(0)
    return {
        name: Rows(
            np.column_stack([rng.normal(60, 9, 40), rng.integers(0, 2, 40), rng.normal(70, 9, 40)]),
            rng.integers(0, 2, 40).astype(np.float64),
        )
        for name in "abc"
    }


def test_a_site_that_leaves_between_two_passes_is_in_no_figure() -> None:
    """The passes begin again with who is left, so that counts and means are of the same rows."""
    sites = _sites()
    exchange = Leaving(study(), sites, for_ever=False)
    found = describe(study(), exchange, exchange)
    assert found.sites == ("a", "c")
    ages = np.concatenate([sites["a"].X[:, 0], sites["c"].X[:, 0]])
    assert found.counts[-1, 0] == 80
    assert found.mean[-1, 0] == pytest.approx(ages.mean(), rel=1e-12)


def test_sites_that_never_stay_end_the_description() -> None:
    """After some attempts it ends with an error instead of mixing sites."""
    exchange = Leaving(study(), _sites(), for_ever=True)
    with pytest.raises(FederationError, match="same sites"):
        describe(study(), exchange, exchange)
    assert exchange.passes.count("describe-counts") == STARTS
