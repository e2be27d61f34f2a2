"""The OMOP example runs end to end as its README says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from medhive.data.site import load_site
from medhive.studyfile import read_study

EXAMPLE = Path(__file__).parents[2] / "examples" / "omop"


def test_the_example_runs_as_its_readme_says(tmp_path: Path) -> None:
    """Two databases in different units give one model, and the same units in the design."""
    folder = tmp_path / "omop"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.db", "__pycache__"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (.+)$", readme, re.MULTILINE)
    assert lines[0] == "cd examples/omop"
    for line in lines[1:4]:
        program, *arguments = shlex.split(line)
        module = [] if program == "python" else ["-m", program]
        done = subprocess.run(
            [sys.executable, *module, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "cholesterol" in done.stdout
    study = read_study(folder / "study.toml")
    south = load_site(folder / "site.toml", study, "south")
    north = load_site(folder / "site-si.toml", study, "north")
    terms = [term.name for term in study.terms]
    for name in ("cholesterol", "glucose"):
        column = terms.index(name)
        a, b = np.mean(south.train.X[:, column]), np.mean(north.train.X[:, column])
        assert abs(a - b) < 0.1 * a, name
    assert not any("converted" in note for note in south.notes)
    assert sum("converted from mmol/l" in note for note in north.notes) == 2
    assert south.train.X[:, terms.index("age")].min() >= 40
    assert set(south.train.X[:, terms.index("sex[M]")]) == {0, 1}
    assert 20 < south.train.y.sum() < len(south.train) / 2
