"""What the demo prints when the run is over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from medhive.data.site import load_site
from medhive.demo.compare import Comparison, Model, Score, compare
from medhive.reports.result import read_result
from medhive.server.conduct import clinical_fill, clinical_params
from medhive.study import Study


def show(study: Study, files: Mapping[str, Path], folder: Path, console: Console) -> None:
    """Print the comparison of the federated model with the hospitals' own and the pooled fit."""
    result = read_result(folder / "result.json")
    sites = {name: load_site(path, study, name) for name, path in files.items()}
    federated = Model(clinical_params(result), clinical_fill(result))
    lines = compare(study, sites, federated)
    note = f"Judged on {result.evaluated_on}. Only a demo can compare so: it has every site's rows."
    console.print()
    console.print(_table("Accuracy", "accuracy", lines))
    console.print(_table("AUC", "auc", lines))
    console.print(f"[dim]{note}[/dim]", highlight=False)


def _table(title: str, measure: str, lines: list[Comparison]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", min_width=78)
    table.add_column("patients of")
    table.add_column("rows", justify="right")
    for name in ("own model", "own, on others", "federated", "pooled fit"):
        table.add_column(name, justify="right")
    for line in lines:
        if line.site == "all sites":
            table.add_section()
        models = (line.own, line.own_elsewhere, line.federated, line.pooled)
        cells = [_cell(model, measure) for model in models]
        style = "bold" if line.site == "all sites" else None
        table.add_row(line.site, str(line.n_rows), *cells, style=style)
    return table


def _cell(score: Score | None, measure: str) -> str:
    value = float("nan") if score is None else getattr(score, measure)
    return "" if value != value else f"{value:.3f}"
