"""What the statistician reads in the terminal while a study runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from medhive.server.rounds import RoundRecord


@dataclass
class ConsoleProgress:
    """Prints one line an event; each line makes sense on its own in a log file."""

    console: Console
    rounds: int
    _headed: bool = field(default=False)

    def phase(self, name: str) -> None:
        """Say which part of the run begins."""
        words = {
            "standardisation": "computing federated means and standard deviations",
            "evaluation": "evaluating the model",
        }
        if name in words:
            self._line(f"[dim]{words[name]}[/dim]")

    def joined(self, site: str, n_samples: int) -> None:
        """Say that a site takes part."""
        self._line(f"[green]+[/green] {escape(site)} joined with {n_samples} rows")

    def left(self, site: str, reason: str) -> None:
        """Say that a site does not take part any more."""
        self._line(f"[yellow]-[/yellow] {escape(site)} left: {escape(reason)}")

    def waiting(self, sites: list[str], minimum: int, seconds: float) -> None:
        """Say for how many sites the run waits."""
        there = f"{len(sites)} there: {', '.join(sites)}" if sites else "none is there yet"
        since = f", for {seconds:.0f} s now" if seconds >= 1 else ""
        self._line(f"[dim]waiting for {minimum} sites ({escape(there)}){since}[/dim]")

    def round_done(self, record: RoundRecord) -> None:
        """Print the line of a round."""
        if not self._headed:
            self._headed = True
            self._line("[bold]  round   sites    rows      loss  accuracy  seconds[/bold]")
        self._line(
            f"{record.round:>4}/{self.rounds:<4}{len(record.sites):>5}{record.n_samples:>8}"
            f"{record.loss:>10.4f}{record.accuracy:>10.4f}{record.seconds:>9.2f}"
        )

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def print_line(console: Console, line: str) -> None:
    """Print a line as it is: nothing in it is colour, and it is not wrapped."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
