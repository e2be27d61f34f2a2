"""Missing values of the four centres against pandas and scikit-learn on the pooled rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from typer.testing import CliRunner

from medhive.cli.main import app
from medhive.data.site import load_site
from medhive.demo.compare import compare, fit
from medhive.learning.algorithm import State
from medhive.learning.evaluation import linear_predictor
from medhive.learning.local import fit_to_convergence
from medhive.learning.registry import ALGORITHMS
from medhive.learning.standardise import moments, standardise, to_clinical
from medhive.reports.model import pipeline
from medhive.reports.result import Result, read_result
from medhive.rows import Array, Rows
from medhive.server.conduct import clinical_fill, clinical_params
from medhive.study import Study
from medhive.studyfile import parse_study
from support import HEART_SITES, HEART_STUDY

MODES = ("drop", "mean", "indicator")
LEVELS = {"cp": (2, 3, 4), "restecg": (1, 2)}
COLUMNS = [
    *("age", "sex", "cp", "trestbps", "chol", "fbs"),
    *("restecg", "thalach", "exang", "oldpeak"),
]


def study_of(mode: str, **run: object) -> Study:
    text = HEART_STUDY.read_text(encoding="utf-8")
    return parse_study(text, file="heart", run_config={"missing": mode, **run})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.concat([pd.read_csv(path) for path in HEART_SITES.values()], ignore_index=True)


def reference(table: pd.DataFrame, mode: str) -> tuple[pd.DataFrame, Array]:
    """Build the pooled design with pandas alone."""
    table = table[table["num"].notna()]
    if mode == "drop":
        table = table.dropna(subset=COLUMNS)
    design = {}
    for name in COLUMNS:
        column = table[name]
        if name in LEVELS:
            for level in LEVELS[name]:
                design[f"{name}[{level}]"] = (column == level).astype(float).where(column.notna())
        else:
            design[name] = column
        if mode == "indicator":
            design[f"{name}[missing]"] = column.isna().astype(float)
    X = pd.DataFrame(design)
    return X.fillna(X.mean()), (table["num"] > 0).to_numpy(dtype=np.float64)


def pooled(study: Study) -> Rows:
    rows = [load_site(path, study, name).train for name, path in HEART_SITES.items()]
    return Rows(np.vstack([each.X for each in rows]), np.concatenate([each.y for each in rows]))


@pytest.fixture(scope="module", params=MODES)
def simulated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Run ``medhive simulate`` over the four centres."""
    file = tmp_path_factory.mktemp("simulated") / "result.json"
    sites = [f"--site={name}={path}" for name, path in HEART_SITES.items()]
    config = f"missing='{request.param}' num-server-rounds=8"
    done = CliRunner().invoke(
        app, ["simulate", str(HEART_STUDY), *sites, "-c", config, "--output", str(file)]
    )
    assert done.exit_code == 0, done.output
    return read_result(file)


def mode_of(result: Result) -> str:
    return str(result.run["missing"])


def test_means_and_deviations_are_those_of_the_filled_pooled_rows(
    simulated: Result, table: pd.DataFrame
) -> None:
    """Term by term, mean and sd in the result equal pandas' to 1e-12."""
    X, y = reference(table, mode_of(simulated))
    assert list(simulated.standardisation) == list(X)
    assert simulated.n_samples == len(y) == (740 if mode_of(simulated) == "drop" else 920)
    means = [scale.mean for scale in simulated.standardisation.values()]
    deviations = [scale.sd for scale in simulated.standardisation.values()]
    np.testing.assert_allclose(means, X.mean(), rtol=1e-12)
    np.testing.assert_allclose(deviations, X.std(ddof=0), rtol=1e-12, atol=1e-15)


def test_metrics_are_those_of_the_model_on_the_filled_pooled_rows(
    simulated: Result, table: pd.DataFrame
) -> None:
    """Accuracy, loss and AUC equal scikit-learn's for the result's model on pandas' design."""
    X, y = reference(table, mode_of(simulated))
    params = clinical_params(simulated)
    p = expit(params[0] + X.to_numpy() @ params[1:])
    assert simulated.metrics["loss"] == pytest.approx(log_loss(y, p), abs=1e-12)
    assert simulated.metrics["accuracy"] == pytest.approx(np.mean((p >= 0.5) == y), abs=1e-12)
    assert simulated.metrics["auc"] == pytest.approx(roc_auc_score(y, p), abs=1e-3)


def test_the_exported_model_fills_as_training_did(simulated: Result, table: pd.DataFrame) -> None:
    """The scikit-learn pipeline gives MedHive's own probabilities, also for incomplete rows."""
    study = study_of(mode_of(simulated))
    model = pipeline(study, clinical_params(simulated), clinical_fill(simulated))
    X, _ = reference(table, mode_of(simulated))
    params = clinical_params(simulated)
    found = model.predict_proba(table.loc[X.index])[:, 1]
    np.testing.assert_allclose(found, expit(params[0] + X.to_numpy() @ params[1:]), atol=1e-12)
    state: State = {
        "params": params,
        "centre": np.zeros(len(params) - 1),
        "scale": np.ones(len(params) - 1),
        "fill": clinical_fill(simulated),
    }
    own = expit(linear_predictor(pooled(study), state))
    np.testing.assert_allclose(found, own, atol=1e-12)


def test_missing_values_are_counted_in_all_rows(simulated: Result, table: pd.DataFrame) -> None:
    """Every count is the file's, or hidden where it is 1 to 4, and never one of a column alone.

    ``restecg`` is missing twice in all, so its total is hidden too.
    """
    assert list(simulated.missing) == [*COLUMNS, "num"]
    for name, count in simulated.missing.items():
        truth = {
            site: int(pd.read_csv(path)[name].isna().sum()) for site, path in HEART_SITES.items()
        }
        assert set(count.by_site) == set(truth)
        for site, n in count.by_site.items():
            assert n is None or n == truth[site]
            assert n is None or n == 0 or n >= 5
        assert count.n == (None if name == "restecg" else sum(truth.values()))
        if count.n is not None:
            assert list(count.by_site.values()).count(None) != 1
    assert simulated.missing["chol"].by_site == {
        "cleveland": 0, "hungarian": 23, "switzerland": 0, "va": 7
    }  # fmt: skip


def test_terms_of_what_is_never_missing_are_zero(simulated: Result) -> None:
    """An indicator of a complete column has coefficient 0, and no warning is given."""
    assert not [each for each in simulated.warnings if "coefficients still moved" not in each]
    for name in ("age", "sex", "cp"):
        assert (f"{name}[missing]" in simulated.terms) == (mode_of(simulated) == "indicator")
        if mode_of(simulated) == "indicator":
            assert simulated.terms[f"{name}[missing]"].estimate == 0.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", ["fedavg", "fedprox"])
def test_one_site_with_many_rounds_equals_scikit_learn(
    mode: str, strategy: str, table: pd.DataFrame
) -> None:
    """With all rows at one site the rounds end at scikit-learn's fit of pandas' filled design.

    Columns are missing in nearly the same rows, so that the optimum is flat along their indicators:
    there FedProx takes a tenth of the way in a round, and 100 rounds for the sixth digit.
    """
    study = study_of(mode, strategy=strategy, **{"local-epochs": 100})
    rows = pooled(study)
    found = moments(rows, study)
    state: State = {**found, "params": np.zeros(rows.X.shape[1] + 1)}
    for _ in range(100):
        algorithm = ALGORITHMS[strategy]
        state = algorithm.update(state, algorithm.contribute(rows, state, study), study)
    X, y = reference(table, mode)
    sd = X.std(ddof=0)
    Z = ((X - X.mean()) / sd.where(sd > 0, 1.0)).to_numpy()
    model = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=100).fit(Z, y)
    expected = np.concatenate([model.intercept_, model.coef_[0]])
    np.testing.assert_allclose(state["params"], expected, atol=1e-6)
    direct = fit_to_convergence(standardise(rows.X, found), rows.y, study.run)
    np.testing.assert_allclose(direct, expected, atol=1e-6)
    clinical = to_clinical(state["params"], found["centre"], found["scale"])
    eta = clinical[0] + X.to_numpy() @ clinical[1:]
    np.testing.assert_allclose(eta, model.decision_function(Z), atol=1e-5)


def test_held_out_rows_are_filled_with_the_training_rows_means(tmp_path: Path) -> None:
    """With a share held out, means are the training rows', and metrics those of the others."""
    file = tmp_path / "result.json"
    sites = [f"--site={name}={path}" for name, path in HEART_SITES.items()]
    config = "missing='mean' test-fraction=0.3"
    done = CliRunner().invoke(
        app, ["simulate", str(HEART_STUDY), *sites, "-c", config, "--output", str(file)]
    )
    assert done.exit_code == 0, done.output
    result = read_result(file)
    study = study_of("mean", **{"test-fraction": 0.3})
    data = [load_site(path, study, name) for name, path in HEART_SITES.items()]
    train = pd.DataFrame(np.vstack([each.train.X for each in data]))
    test = pd.DataFrame(np.vstack([each.evaluation.X for each in data]))
    y = np.concatenate([each.evaluation.y for each in data])
    assert train.isna().to_numpy().any()
    assert test.isna().to_numpy().any()
    np.testing.assert_allclose(clinical_fill(result), train.mean(), rtol=1e-12)
    params = clinical_params(result)
    p = expit(params[0] + test.fillna(train.mean()).to_numpy() @ params[1:])
    assert result.metrics["loss"] == pytest.approx(log_loss(y, p), abs=1e-12)


def test_a_column_that_is_missing_everywhere_gives_one_warning(tmp_path: Path) -> None:
    """The run ends, the coefficients are 0, and the result says why, once a feature."""
    sites = []
    for name in ("cleveland", "va"):
        rows = pd.read_csv(HEART_SITES[name]).assign(chol=np.nan, restecg=np.nan)
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        sites.append(f"--site={name}={tmp_path / f'{name}.csv'}")
    file = tmp_path / "result.json"
    config = "missing='indicator'"
    done = CliRunner().invoke(
        app, ["simulate", str(HEART_STUDY), *sites, "-c", config, "--output", str(file)]
    )
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert found["missing"]["chol"] == {"n": 503, "by_site": {"cleveland": 303, "va": 200}}
    assert [each for each in found["warnings"] if "coefficients still moved" not in each] == [
        '"chol" is missing in every row; its coefficient says nothing',
        '"restecg" is missing in every row; its coefficient says nothing',
    ]
    for name in ("chol", "chol[missing]", "restecg[1]", "restecg[2]", "restecg[missing]"):
        assert found["terms"][name]["estimate"] == 0.0


@pytest.mark.parametrize("mode", ["mean", "indicator"])
def test_the_demo_judges_each_model_with_its_own_means(mode: str, table: pd.DataFrame) -> None:
    """A hospital's own model fills the others' rows with the hospital's means."""
    study = study_of(mode)
    sites = {name: load_site(path, study, name) for name, path in HEART_SITES.items()}
    everyone = fit(study, pooled(study))
    lines = {line.site: line for line in compare(study, sites, everyone)}
    X, y = reference(table, mode)
    p = expit(everyone.params[0] + X.to_numpy() @ everyone.params[1:])
    whole = lines["all sites"]
    assert whole.pooled == whole.federated
    assert whole.pooled.loss == pytest.approx(log_loss(y, p), abs=1e-12)
    assert whole.pooled.auc == pytest.approx(roc_auc_score(y, p), abs=1e-12)

    own = pd.DataFrame(sites["hungarian"].train.X)
    others = [data.train for name, data in sites.items() if name != "hungarian"]
    elsewhere = pd.DataFrame(np.vstack([each.X for each in others])).fillna(own.mean())
    model = fit(study, sites["hungarian"].train)
    p = expit(model.params[0] + elsewhere.to_numpy() @ model.params[1:])
    y = np.concatenate([each.y for each in others])
    found = lines["hungarian"].own_elsewhere
    assert found is not None
    assert found.loss == pytest.approx(log_loss(y, p), abs=1e-12)
