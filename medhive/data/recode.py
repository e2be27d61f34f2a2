"""What a hospital's file calls and codes otherwise than the study: names, units, levels, gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medhive.data.rowfilter import Filter, columns_of, parse_filter
from medhive.data.sitefile import SiteFile
from medhive.data.units import Conversion, UnitError, convert
from medhive.errors import Place, SettingError
from medhive.study import Feature, Study
from medhive.tomlfile import close_to


@dataclass(frozen=True)
class Recode:
    """How one column of the file becomes one of the study.

    Parameters
    ----------
    name : str
        The study's name.
    column : str
        The file's name.
    missing : frozenset of str
        Codes that mean missing, beside the usual words.
    levels : mapping of str to str
        Study code of each value of the file; empty where the file has the study's codes.
    conversion : Conversion, optional
        From the file's unit to the study's.
    decimal : str
        Decimal sign of numbers in text.
    """

    name: str
    column: str
    missing: frozenset[str] = frozenset()
    levels: Mapping[str, str] = field(default_factory=dict)
    conversion: Conversion | None = None
    decimal: str = "."


@dataclass(frozen=True)
class Plan:
    """How a file becomes what a study asks for.

    Parameters
    ----------
    recodes : mapping of str to Recode
        By the study's column, in the study's order.
    filter : Filter or None
    filtered : mapping of str to Recode
        How the filter reads its columns: as they are in the file, without unit or levels.
    filter_place : Place or None
    has_site_file : bool
    notes : tuple of str
        What the data manager should see once.
    """

    recodes: Mapping[str, Recode]
    filter: Filter | None = None
    filtered: Mapping[str, Recode] = field(default_factory=dict)
    filter_place: Place | None = None
    has_site_file: bool = False
    notes: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[str, ...]:
        """Columns of the file that are read."""
        wanted = [recode.column for recode in self.recodes.values()]
        if self.filter is not None:
            wanted += sorted(columns_of(self.filter))
        return tuple(dict.fromkeys(wanted))


def plan(site: SiteFile | None, study: Study, names: Sequence[str]) -> Plan:
    """Hold a site file against a study and the columns of the file.

    Raises
    ------
    SettingError
        If the site file names a column that is not there, a code that the study does not have, or
        a unit that cannot be converted.
    """
    if site is None:
        return Plan({name: Recode(name, name) for name in study.columns})
    settings = site.settings
    for name, column in settings.columns.items():
        if column not in names:
            raise _absent(site, ("columns", name), column, names)
    features = {feature.name: feature for feature in study.features}
    recodes = {name: _recode(site, study, features.get(name), name) for name in study.columns}
    condition = None
    if settings.data.filter is not None:
        condition = parse_filter(settings.data.filter)
        for column in sorted(columns_of(condition)):
            if column not in names:
                raise _absent(site, ("data", "filter"), column, names)
    filtered = {} if condition is None else _filtered(site, recodes, columns_of(condition))
    place = site.place("data", "filter")
    return Plan(recodes, condition, filtered, place, True, _notes(site, recodes))


def _filtered(
    site: SiteFile, recodes: Mapping[str, Recode], columns: Iterable[str]
) -> dict[str, Recode]:
    data = site.settings.data
    filtered = {}
    for column in columns:
        codes = [recode.missing for recode in recodes.values() if recode.column == column]
        missing = frozenset(data.missing).union(*codes)
        filtered[column] = Recode(column, column, missing, decimal=data.decimal or ".")
    return filtered


def _recode(site: SiteFile, study: Study, feature: Feature | None, name: str) -> Recode:
    settings = site.settings
    missing = frozenset((*settings.data.missing, *settings.missing.get(name, ())))
    levels = settings.levels.get(name, {})
    clash = sorted(missing & set(levels))
    if clash:
        raise site.fault(
            ("levels", name, clash[0]),
            f"{clash[0]} is a level and means missing",
            "remove it here or there",
        )
    _require_codes(site, study, feature, name, levels)
    return Recode(
        name=name,
        column=settings.columns.get(name, name),
        missing=missing,
        levels=levels,
        conversion=_conversion(site, feature, name),
        decimal=settings.data.decimal or ".",
    )


def _require_codes(
    site: SiteFile, study: Study, feature: Feature | None, name: str, levels: Mapping[str, str]
) -> None:
    if feature is None:
        known, numeric = None, study.study.outcome.comparison is not None
    else:
        known = ("0", "1") if feature.kind == "binary" else feature.codes
        numeric = feature.kind == "continuous"
    for value, target in levels.items():
        if numeric and not _is_number(target):
            raise site.fault(
                ("levels", name, value),
                f"{target} is no number, and {name} is one",
                "write a number",
            )
        if not numeric and known is not None and target not in known:
            raise site.fault(
                ("levels", name, value),
                f"{target} is not a code of the study's {name}",
                f"choose one of {', '.join(known)}",
            )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _conversion(site: SiteFile, feature: Feature | None, name: str) -> Conversion | None:
    entry = site.settings.units.get(name)
    if entry is None:
        return None
    if feature is None or feature.kind != "continuous":
        raise site.fault(
            ("units", name), f"{name} has no unit: it is no continuous feature", "remove the entry"
        )
    if not feature.unit:
        raise site.fault(
            ("units", name),
            f"the study does not say the unit of {name}",
            "ask the study's statistician to add it, or remove the entry",
        )
    try:
        return convert(
            entry.unit,
            feature.unit,
            column=name,
            analyte=entry.analyte,
            molar_mass=entry.molar_mass,
        )
    except UnitError as error:
        raise site.fault(("units", name), str(error), error.step) from None


def _absent(
    site: SiteFile, keys: tuple[str, str], column: str, names: Sequence[str]
) -> SettingError:
    close = close_to(column, names)
    step = f'did you mean "{close}"?' if close else f"its columns: {', '.join(names)}"
    return site.fault(keys, f'the data have no column "{column}"', step)


def _notes(site: SiteFile, recodes: Mapping[str, Recode]) -> tuple[str, ...]:
    notes = [
        f"{recode.column} converted from {recode.conversion}"
        for recode in recodes.values()
        if recode.conversion is not None and recode.conversion.factor != 1.0
    ]
    settings = site.settings
    named = {*settings.columns, *settings.units, *settings.levels, *settings.missing}
    unknown = sorted(named - set(recodes))
    if unknown:
        notes.append(
            f"{site.path.name} has entries for columns that this study does not use: "
            f"{', '.join(unknown)}"
        )
    return tuple(notes)
