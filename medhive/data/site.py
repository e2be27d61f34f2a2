"""A site's data, from file to rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from medhive.data.check import check
from medhive.data.design import design
from medhive.data.progress import Reading
from medhive.data.recode import plan
from medhive.data.sitefile import Limits, SiteFile
from medhive.data.sources import open_source, site_file_of
from medhive.data.split import split
from medhive.errors import Place, RefusalError
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
        Rows that the model is fitted to; NaN where a value is missing that is to be filled.
    test : Rows or None
        Rows held out for evaluation.
    n_rows : int
        Rows in the file, those that the site's filter leaves out not counted.
    n_dropped : int
        Rows left out because the outcome, or a value that is not to be filled, was missing; with
        `n_broken`.
    missing : dict of str to int
        Rows without a value, per column of the contract.
    unused : tuple of str
        Columns of the file that the contract does not name.
    notes : tuple of str
        What the data manager should know about how the rows were read.
    limits : Limits
        What the hospital allows.
    n_broken : int
        Rows left out because a value broke the contract; none unless that was allowed.
    """

    site: str
    train: Rows
    test: Rows | None
    n_rows: int
    n_dropped: int
    missing: dict[str, int]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    n_broken: int = 0

    @property
    def evaluation(self) -> Rows:
        """Rows that metrics are computed on: the held-out rows, else the training rows."""
        return self.train if self.test is None else self.test


class Loader(Protocol):
    """Reads one site's rows for a study."""

    def __call__(self, study: Study, *, keep_missing: bool = False) -> SiteData:
        """Return what `load_site` returns."""


def load_site(
    data: Path | SiteFile,
    study: Study,
    site: str,
    *,
    keep_missing: bool = False,
    allow_drop: bool = False,
) -> SiteData:
    """Read, check and split a site's rows.

    Parameters
    ----------
    data : Path or SiteFile
        A CSV or Parquet file, or a site file (``.toml``).
    study : Study
    site : str
        Name of the site.
    keep_missing : bool
        Read to describe: ``train`` has every row whose outcome is known, with NaN, `INVALID` and
        `ABSENT` for what is not, and nothing is held out.
    allow_drop : bool
        Leave out a row in which a feature's value breaks the contract, instead of raising; the
        notes say how many, and in which columns. Never the default: it hides faults of the file.

    Raises
    ------
    DataError
        If the rows cannot be read or break the contract.
    SettingError
        If the site file is wrong or does not fit the study or the rows.
    RefusalError
        If the site file's limits do not allow the study, or fewer training rows are left than
        the study's or the site's min-rows. The message, which the server may see, tells neither
        how many there are nor the site's own number.
    """
    settings = site_file_of(data) if isinstance(data, Path) else data
    limits = Limits() if settings is None else settings.settings.limits
    require_allowed(limits, study)
    with Reading() as reading:
        source = open_source(settings or data, reading)
        how = plan(settings, study, source.names)
        checked = check(
            source, study, how, lenient=keep_missing, allow_drop=allow_drop, reading=reading
        )
    n_rows = len(checked.complete) + checked.n_broken
    missing, unused, n_broken = checked.missing, checked.unused, checked.n_broken
    notes = (*source.notes, *how.notes)
    if how.filter is not None:
        notes += (f"the filter takes {n_rows} of {checked.n_read} rows",)
    if n_broken:
        columns = ", ".join(f"{name} ({n})" for name, n in checked.broken.items())
        what = "row that breaks" if n_broken == 1 else "rows that break"
        notes += (f"DROPPED {n_broken} {what} the contract (--allow-drop): {columns}",)
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
    if limits.min_rows is not None and len(train) < limits.min_rows:
        raise RefusalError(
            "fewer training rows than this site's own limit",
            next_step="add patients with complete values, or lower limits.min-rows",
        )
    n_dropped = n_rows - len(rows)
    return SiteData(site, train, test, n_rows, n_dropped, missing, unused, notes, limits, n_broken)


def require_allowed(limits: Limits, study: Study) -> None:
    """Require that a site's own limits allow what the study does.

    Raises
    ------
    RefusalError
    """
    run = study.run
    if limits.strategies is not None and run.strategy not in limits.strategies:
        raise RefusalError(
            "this site's own limits do not allow the study's strategy",
            place=Place(setting="limits.strategies"),
            next_step=f'allow "{run.strategy}" in the site file, or agree on another strategy',
        )
    if limits.max_rounds is not None and run.num_server_rounds > limits.max_rounds:
        raise RefusalError(
            "this site's own limits do not allow so many rounds",
            place=Place(setting="limits.max-rounds"),
            next_step="raise it in the site file, or agree on fewer rounds",
        )
