"""The bundled studies fit their bundled rows, in every number of sites."""

from pathlib import Path

import numpy as np
import pytest

from medhive.data.bundled import bundled_sites, load_partition, study_text
from medhive.data.site import load_site
from medhive.errors import SettingError
from medhive.studyfile import parse_study


@pytest.mark.parametrize("sites", [2, 4, 9, 56])
def test_wdbc_is_cut_into_sites(sites: int, tmp_path: Path) -> None:
    """The cut gives every row to one site, and every site may take part."""
    text, files = bundled_sites("wdbc", sites, 3, tmp_path)
    study = parse_study(text, file="wdbc.toml", run_config={"test-fraction": 0.5})
    assert list(files) == [f"site-{number}" for number in range(1, sites + 1)]
    data = [load_site(path, study, name) for name, path in files.items()]
    assert sum(len(d.train) + len(d.evaluation) for d in data) == 569
    assert sum(d.train.y.sum() + d.evaluation.y.sum() for d in data) == 212
    assert len(study.terms) == 30


def test_the_cut_depends_on_the_seed(tmp_path: Path) -> None:
    """The same seed gives the same files, another seed others."""
    texts = []
    for run, seed in enumerate([1, 1, 2]):
        _, files = bundled_sites("wdbc", 3, seed, tmp_path / str(run))
        texts.append(files["site-2"].read_text())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("dataset", "sites"), [("heart-disease", 4), ("wdbc", 5)])
def test_a_partition_is_the_site_of_that_number(dataset: str, sites: int, tmp_path: Path) -> None:
    """A node that only knows its number has the rows of the demonstration's site."""
    study = parse_study(study_text(dataset), file="s.toml", run_config={"seed": 7})
    _, files = bundled_sites(dataset, sites, 7, tmp_path)
    for number, (name, path) in enumerate(files.items()):
        found, load = load_partition(dataset, number, sites)
        assert found == name
        np.testing.assert_array_equal(load(study).train.X, load_site(path, study, name).train.X)


def test_the_study_of_unknown_sites_suits_all(tmp_path: Path) -> None:
    """Without a number of sites the study fits the finest cut."""
    assert study_text("wdbc").splitlines()[-4:] == study_text("wdbc", 56).splitlines()[-4:]
    study = parse_study(study_text("wdbc"), file="wdbc.toml")
    assert study.privacy.min_rows == 5
    assert parse_study(study_text("wdbc", 4), file="wdbc.toml").privacy.min_rows == 20


@pytest.mark.parametrize(
    ("dataset", "sites"), [("heart-disease", 3), ("wdbc", 1), ("wdbc", 57), ("iris", None)]
)
def test_impossible_cuts_are_refused(dataset: str, sites: int | None, tmp_path: Path) -> None:
    """A data set or number of sites that does not exist is named, with what does."""
    with pytest.raises(SettingError) as caught:
        bundled_sites(dataset, sites, 1, tmp_path)
    assert caught.value.next_step is not None
    with pytest.raises(SettingError):
        study_text(dataset, sites)


def test_a_partition_beyond_the_last_is_refused() -> None:
    """Numbers start at 0 and end below the number of partitions."""
    for number in (-1, 4):
        with pytest.raises(SettingError, match="0 to 3"):
            load_partition("heart-disease", number, 4)
