"""What the demo prints when the run is over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from medhive.data.site import load_site
from medhive.demo.compare import Score, compare
from medhive.reports.result import read_result
from medhive.server.conduct import clinical_params
from medhive.study import Study


def show(study: Study, files: Mapping[str, Path], folder: Path, console: Console) -> None:
    """Print the comparison of the federated model with the hospitals' own and the pooled fit."""
    result = read_result(folder / "result.json")
    sites = {name: load_site(path, study, name) for name, path in files.items()}
    table = Table(
        title="Accuracy and AUC of each model",
        title_justify="left",
        title_style="bold",
        caption=f"Judged on {result.evaluated_on}. Only a demo can make this table: it has the rows"
        " of every site.",
        caption_justify="left",
    )
    table.add_column("judged on the rows of")
    table.add_column("rows", justify="right")
    for name in ("own model", "own model, on the others", "federated", "pooled fit"):
        table.add_column(name, justify="right")
    for line in compare(study, sites, clinical_params(result)):
        last = line.site == "all sites"
        if last:
            table.add_section()
        scores = (line.own, line.own_elsewhere, line.federated, line.pooled)
        table.add_row(
            line.site,
            str(line.n_rows),
            *(_cell(score) for score in scores),
            style="bold" if last else None,
        )
    console.print()
    console.print(table)


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    auc = "  -  " if score.auc != score.auc else f"{score.auc:.3f}"
    return f"{score.accuracy:.3f}  {auc}"
