"""The data sets that MedHive brings, cut into sites for the demonstration and simulations."""

from __future__ import annotations

import csv
import re
import zlib
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medhive.data.site import Loader, SiteData, load_site
from medhive.errors import Place, SettingError
from medhive.rows import Array
from medhive.study import Study

Dataset = Literal["heart-disease", "wdbc"]

HEART_SITES = ("cleveland", "hungarian", "switzerland", "va")
WDBC_SITES = range(2, 57)
"""Numbers of sites that the Wisconsin rows can be cut into."""

_WDBC_DEFAULT = 4
DEMO_PARTS = 10
"""Parts that an open demo cuts Wisconsin's rows into."""

_WDBC_ROWS = 569


def bundled_sites(
    dataset: str, sites: int | None, seed: int, folder: Path
) -> tuple[str, dict[str, Path]]:
    """Return a bundled study and one CSV file a site.

    Parameters
    ----------
    dataset : {"heart-disease", "wdbc"}
        Four real centres, or scikit-learn's Wisconsin breast cancer rows cut into sites.
    sites : int or None
        Number of sites: 4 for "heart-disease", 2 to 56 for "wdbc" (4 where it is None).
    seed : int
        Seed of the cut of "wdbc".
    folder : Path
        Where the files of "wdbc" are written; the heart files are the installed ones.

    Returns
    -------
    (str, dict of str to Path)
        Text of the study file; name and file of every site.

    Raises
    ------
    SettingError
        If there is no such data set, or it does not come in that many sites.
    """
    n_sites = _n_sites(dataset, sites)
    names = _names(dataset, n_sites)
    files = {name: _file(dataset, n, names, seed, folder) for n, name in enumerate(names)}
    return study_text(dataset, n_sites), files


def load_partition(dataset: str, partition: int, partitions: int) -> tuple[str, Loader]:
    """Return name and loader of one bundled site, for a node that knows only its number.

    The site is the one of `bundled_sites`, cut with the study's seed; fewer nodes than heart
    centres leave the last centres out.

    Raises
    ------
    SettingError
        If there is no such data set or partition.
    """
    sites = None if dataset == "heart-disease" else partitions
    names = _names(dataset, _n_sites(dataset, sites))
    if not 0 <= partition < len(names):
        raise SettingError(
            f"partition-id {partition} is not one of 0 to {len(names) - 1}",
            next_step="start as many nodes as the data set has sites, numbered from 0",
        )

    def load(study: Study, *, keep_missing: bool = False) -> SiteData:
        with TemporaryDirectory(prefix="medhive-partition-") as folder:
            path = _file(dataset, partition, names, study.run.seed, Path(folder))
            return load_site(path, study, names[partition], keep_missing=keep_missing)

    return names[partition], load


def load_demo(study: Study, client: str, *, keep_missing: bool = False) -> SiteData:
    """Return bundled rows for a client of an open demo, which has none of its own.

    Wisconsin's rows are cut into ten parts. A client whose name ends with a number takes that
    part (the tenth after the ninth, then from the first on again), any other one by its name.

    Raises
    ------
    SettingError
        If the study is not one of a bundled data set.
    """
    dataset = study.study.name
    if dataset not in get_args(Dataset):
        raise SettingError(
            f'the server runs the study "{dataset}", which needs rows of its own',
            place=Place(setting="--data"),
            next_step="add --data FILE",
        )
    parts = DEMO_PARTS if dataset == "wdbc" else len(HEART_SITES)
    number = re.search(r"\d{1,9}$", client)
    index = int(number[0]) - 1 if number else zlib.crc32(client.encode())
    return load_partition(dataset, index % parts, parts)[1](study, keep_missing=keep_missing)


def study_text(dataset: str, sites: int | None = None) -> str:
    """Return the text of a bundled study file.

    Parameters
    ----------
    dataset : {"heart-disease", "wdbc"}
    sites : int, optional
        Number of sites of "wdbc", which sets its ``min-rows``; where nothing is said, the study
        suits every number of sites.

    Raises
    ------
    SettingError
        If there is no such data set, or it does not come in that many sites.
    """
    if sites is not None or dataset != "wdbc":
        _n_sites(dataset, sites)
    if dataset == "wdbc":
        return _wdbc_toml(sites)
    return (_installed() / "heart-disease.toml").read_text(encoding="utf-8")


def _n_sites(dataset: str, sites: int | None) -> int:
    if dataset not in get_args(Dataset):
        raise SettingError(
            f'there is no bundled data set "{dataset}"',
            next_step=f"choose {' or '.join(get_args(Dataset))}",
        )
    if dataset == "heart-disease":
        if sites not in (None, len(HEART_SITES)):
            raise SettingError(
                f"heart-disease has {len(HEART_SITES)} sites, not {sites}",
                next_step='use 4 sites, or the data set "wdbc" for another number',
            )
        return len(HEART_SITES)
    if sites is None:
        return _WDBC_DEFAULT
    if sites not in WDBC_SITES:
        raise SettingError(
            f"wdbc can be cut into {WDBC_SITES[0]} to {WDBC_SITES[-1]} sites, not {sites}",
            next_step="choose a number of sites in that range",
        )
    return sites


def _names(dataset: str, n_sites: int) -> tuple[str, ...]:
    if dataset == "heart-disease":
        return HEART_SITES
    return tuple(f"site-{number}" for number in range(1, n_sites + 1))


def _installed() -> Path:
    return Path(str(resources.files("medhive.data"))) / "bundled"


def _file(dataset: str, number: int, names: tuple[str, ...], seed: int, folder: Path) -> Path:
    """Return the file of one site; for "wdbc", write it first."""
    if dataset == "heart-disease":
        return _installed() / f"{names[number]}.csv"
    columns, X, malignant = _wdbc()
    rows = np.array_split(np.random.default_rng(seed).permutation(len(X)), len(names))[number]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{names[number]}.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, "diagnosis"])
        writer.writerows([*X[row].tolist(), "M" if malignant[row] else "B"] for row in rows)
    return path


def _wdbc() -> tuple[list[str], Array, NDArray[np.bool_]]:
    # scikit-learn takes a second to import, and only this data set needs it
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    malignant = list(data.target_names).index("malignant")
    return [str(name) for name in data.feature_names], data.data, data.target == malignant


def _wdbc_toml(sites: int | None) -> str:
    columns, _, _ = _wdbc()
    # half of the smallest site's rows, so that up to half of them can be held out
    min_rows = min(20, _WDBC_ROWS // (sites or WDBC_SITES[-1]) // 2)
    cut = f"{sites} sites" if sites else "sites"
    features = "\n".join(f'[[features]]\nname = "{c}"\nkind = "continuous"\n' for c in columns)
    return f"""\
# Wisconsin breast cancer: 569 tumours, the 30 features that scikit-learn ships, cut at random
# into {cut}. min-rows is {min_rows}, so that every site has enough rows even with half of them
# held out. Below 20 that is acceptable only because these rows are public.

[study]
name = "wdbc"
title = "Malignant breast tumours, cut at random into {cut} (min-rows {min_rows})"
outcome = {{ column = "diagnosis", event = "M" }}

[privacy]
min-rows = {min_rows}

{features}"""
