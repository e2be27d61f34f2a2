"""How long reading and checking a large site's rows takes, and how much memory.

python benchmarks/data/run.py                     # 10 million rows x 30 columns
python benchmarks/data/run.py --rows 100000 --output results.json
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

N_FEATURES = 30
BATCH = 250_000
LIMIT_GIB = 8.0


def study_toml() -> str:
    features = "".join(
        f'[[features]]\nname = "x{j}"\nkind = "continuous"\nunit = "mg/dl"\nrange = [-50, 50]\n'
        if j < N_FEATURES - 4
        else f'[[features]]\nname = "x{j}"\nkind = "binary"\n'
        for j in range(N_FEATURES)
    )
    return '[study]\nname = "large"\noutcome = { column = "y", event = 1 }\n' + features


def batches(n_rows: int) -> tuple[pa.Schema, object]:
    names = [*(f"x{j}" for j in range(N_FEATURES)), "y"]
    kinds = [pa.float64()] * (N_FEATURES - 4) + [pa.int8()] * 5
    schema = pa.schema(list(zip(names, kinds, strict=True)))

    def make():
        rng = np.random.default_rng(1)
        for start in range(0, n_rows, BATCH):
            n = min(BATCH, n_rows - start)
            columns = []
            for j in range(N_FEATURES - 4):
                values = np.round(rng.standard_normal(n) * 5, 3)
                missing = rng.random(n) < 0.001 if j == 0 else None
                columns.append(pa.array(values, mask=missing))
            columns += [pa.array(rng.integers(0, 2, n).astype(np.int8)) for _ in range(5)]
            yield pa.record_batch(columns, schema=schema)

    return schema, make()


def write(folder: Path, n_rows: int) -> dict[str, Path]:
    files = {"csv": folder / "site.csv", "parquet": folder / "site.parquet"}
    schema, stream = batches(n_rows)
    with (
        pa_csv.CSVWriter(files["csv"], schema) as text,
        pq.ParquetWriter(files["parquet"], schema) as columns,
    ):
        for batch in stream:
            text.write_batch(batch)
            columns.write_batch(batch)
    return files


def load(file: Path) -> None:
    """Load the rows as a client does, in this process, and print what it cost."""
    from medhive.data.site import load_site
    from medhive.studyfile import parse_study

    study = parse_study(study_toml(), file="study.toml")
    start = time.perf_counter()
    data = load_site(file, study, "site")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "rows": data.n_rows,
                "rows_used": len(data.train),
                "columns": N_FEATURES,
                "seconds": round(seconds, 1),
                "peak_gib": round(peak, 2),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where the files are made (4 GB)")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load is not None:
        load(options.load)
        return
    results = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        files = write(Path(folder), options.rows)
        for kind, file in files.items():
            # a process of its own, so that the peak is that of loading alone
            done = subprocess.run(
                [sys.executable, __file__, "--load", str(file)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(done.stderr)
            size = round(file.stat().st_size / 2**30, 2)
            results.append({"source": kind, "file_gib": size, **json.loads(done.stdout)})
    print("| source | file | rows x columns | seconds | peak memory |\n|---|---|---|---|---|")
    for r in results:
        print(
            f"| {r['source']} | {r['file_gib']} GiB | {r['rows']:,} x {r['columns']} "
            f"| {r['seconds']} | {r['peak_gib']} GiB |"
        )
    if options.output is not None:
        python = platform.python_version()
        report = {"python": python, "limit_gib": LIMIT_GIB, "results": results}
        options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if any(r["peak_gib"] > LIMIT_GIB for r in results):
        sys.exit(f"more than {LIMIT_GIB} GiB")


if __name__ == "__main__":
    main()
