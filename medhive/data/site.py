"""A site's data, from file to rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medhive.data.check import check
from medhive.data.design import design
from medhive.data.sources import read_csv
from medhive.data.split import split
from medhive.errors import RefusalError
from medhive.rows import Rows
from medhive.study import Study


@dataclass(frozen=True, eq=False)
class SiteData:
    """What a site knows about its own rows; none of it leaves the site as it is.

    Parameters
    ----------
    site : str
        Name of the site.
    train : Rows
        Complete rows that the model is fitted to.
    test : Rows or None
        Complete rows held out for evaluation.
    n_rows : int
        Rows in the file.
    n_dropped : int
        Rows left out because a value was missing.
    missing : dict of str to int
        Rows without a value, per column of the contract.
    unused : tuple of str
        Columns of the file that the contract does not name.
    """

    site: str
    train: Rows
    test: Rows | None
    n_rows: int
    n_dropped: int
    missing: dict[str, int]
    unused: tuple[str, ...]

    @property
    def evaluation(self) -> Rows:
        """Rows that metrics are computed on: the held-out rows, else the training rows."""
        return self.train if self.test is None else self.test


class Loader(Protocol):
    """Reads one site's rows for a study."""

    def __call__(self, study: Study, *, keep_missing: bool = False) -> SiteData:
        """Return what `load_site` returns."""


def load_site(path: Path, study: Study, site: str, *, keep_missing: bool = False) -> SiteData:
    """Read, check and split a site's file.

    Parameters
    ----------
    path : Path
    study : Study
    site : str
        Name of the site.
    keep_missing : bool
        Read to describe: ``train`` has every row whose outcome is known, with NaN, `INVALID` and
        `ABSENT` for what is not, and nothing is held out.

    Raises
    ------
    DataError
        If the file cannot be read or breaks the contract.
    RefusalError
        If fewer training rows are left than ``privacy.min-rows``. The message, which the server
        may see, does not say how many there are.
    """
    checked = check(read_csv(path), study, lenient=keep_missing)
    n_rows, missing, unused = len(checked.complete), checked.missing, checked.unused
    rows = design(checked, study, keep_missing=keep_missing)
    # frees the columns before the split copies the rows
    del checked
    fraction = 0.0 if keep_missing else study.run.test_fraction
    train, test = split(rows, fraction, study.run.seed, site)
    if len(train) < study.privacy.min_rows:
        raise RefusalError(
            f"fewer training rows than the study's min-rows ({study.privacy.min_rows})",
            next_step="add patients with complete values, or agree on a lower min-rows",
        )
    return SiteData(site, train, test, n_rows, n_rows - len(rows), missing, unused)
