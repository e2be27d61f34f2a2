"""What a reader of a Table 1 must know, in sentences shared by the terminal and HTML."""

from __future__ import annotations

from medhive.learning.harmonise import FAR
from medhive.reports.table1 import Table1


def notes(table: Table1) -> list[str]:
    """Return the notes under a table."""
    said = [
        f"The event is {table.outcome}. Patients without a known outcome are not in the table."
        " Shares of a level are of the patients with a value, other shares of all patients.",
        f"Means and standard deviations (ddof 1) are those of the pooled rows. {_bound(table)}",
        f"Hidden: counts of 1 to {table.floor - 1}, and as many others as it takes that no sum of"
        " what is shown gives such a count away. No mean or share is shown where its count is"
        " hidden.",
        "Every site sent its part of the totals inside TLS, unmasked, so the server could see it."
        " What is hidden here was hidden when the tables were made; a site's own table was made"
        " safe at the site.",
    ]
    said += [f"No table of {site}: {reason}." for site, reason in table.without_table.items()]
    return said


def compared(table: Table1) -> str:
    """Say what the harmonisation report looked at."""
    n = sum(column.site for column in table.columns)
    if not n:
        return "No site shows a table of its own, so only absent columns could be looked for."
    return (
        f"Looked for in the {n} sites that show a table of their own: absent columns, levels that"
        " no row has, values that the contract does not allow, and means or shares that are more"
        f" than {FAR} standard deviations away from those of all other sites."
    )


def _bound(table: Table1) -> str:
    """State the error bound of the quartiles, the largest one beside its standard deviation."""
    relative = [
        figures.error_bound / figures.sd
        for summary in table.features
        for figures in summary.figures.values()
        if figures.error_bound is not None and figures.sd
    ]
    if not relative:
        return ""
    return (
        "Medians and quartiles come from histograms, and are off by at most"
        f" {max(max(relative), 1e-6):.2g} standard deviations; the bound of each is in table1.json."
    )
