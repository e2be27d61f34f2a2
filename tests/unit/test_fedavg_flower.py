"""MedHive's sums and Flower's strategies find the same model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi

from medhive.flower.optimisers import step
from medhive.learning.registry import ALGORITHMS
from medhive.rows import Rows
from medhive.study import Feature, Header, Outcome, Run, Study
from medhive.sums import total
from support import flower_message

KEY = "params"
SITES = (5, 40, 303, 1, 77)
"""Rows of the sites whose models are averaged."""

Strategy = FedAdam | FedYogi | FedAdagrad | FedAvgM


def _reply(params: np.ndarray, n: int, node_id: int) -> Message:
    content = RecordDict(
        {"arrays": ArrayRecord({KEY: Array(params)}), "metrics": MetricRecord({"num-examples": n})}
    )
    return flower_message(content, node_id)


def _flower_average(models: list[np.ndarray]) -> np.ndarray:
    replies = [_reply(m, n, i) for i, (m, n) in enumerate(zip(models, SITES, strict=True), 1)]
    arrays, _ = FedAvg().aggregate_train(1, replies)
    assert arrays is not None
    return arrays[KEY].numpy()


def _study(strategy: str, **numbers: Any) -> Study:
    return Study(
        study=Header(name="two", outcome=Outcome(column="y", event=1)),
        run=Run(strategy=strategy, local_epochs=3, **numbers),
        features=(Feature(name="a", kind="continuous"), Feature(name="b", kind="continuous")),
    )


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox"])
@pytest.mark.parametrize("seed", range(5))
def test_a_total_of_sums_is_flowers_weighted_average(strategy: str, seed: int) -> None:
    """What the server makes of the sites' sums is what FedAvg makes of their models."""
    rng = np.random.default_rng(seed)
    study = _study(strategy)
    algorithm = ALGORITHMS[strategy]
    state = {
        "params": rng.normal(size=3),
        "centre": np.zeros(2),
        "scale": np.ones(2),
        "n": np.array(float(sum(SITES))),
    }
    parts, models = [], []
    for n in SITES:
        rows = Rows(rng.normal(size=(n, 2)), (rng.random(n) < 0.5).astype(float))
        sums = algorithm.contribute(rows, state, study)
        parts.append(sums)
        # one site's model is what the server would make of this site alone
        models.append(algorithm.update(state, total([sums]), study)["params"])
    ours = algorithm.update(state, total(parts), study)["params"]
    np.testing.assert_allclose(ours, _flower_average(models), rtol=0, atol=1e-12)
    assert not np.allclose(ours, np.mean(models, axis=0), atol=1e-6)


OPTIMISERS: list[tuple[str, type[Strategy], dict[str, float]]] = [
    ("fedadam", FedAdam, {"eta": 0.1, "beta_1": 0.8, "beta_2": 0.95, "tau": 1e-3}),
    ("fedyogi", FedYogi, {"eta": 0.05, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-2}),
    ("fedadagrad", FedAdagrad, {"eta": 0.2, "tau": 1e-3}),
    ("fedavgm", FedAvgM, {"server_learning_rate": 0.9, "server_momentum": 0.7}),
    ("fedavgm", FedAvgM, {"server_learning_rate": 0.5, "server_momentum": 0.0}),
]


@pytest.mark.parametrize(("name", "kind", "numbers"), OPTIMISERS)
def test_an_optimiser_takes_the_steps_of_flowers_strategy(
    name: str, kind: type[Strategy], numbers: dict[str, float]
) -> None:
    """Over several rounds the models are those of one Flower strategy object, bit for bit."""
    rng = np.random.default_rng(3)
    run = Run(strategy=name, **numbers)
    strategy = kind(**numbers)
    theirs = ours = rng.normal(size=6)
    optimiser: dict[str, np.ndarray] = {}
    for server_round in range(1, 7):
        average = rng.normal(size=6)
        _hand_over(strategy, theirs, server_round)
        arrays, _ = strategy.aggregate_train(server_round, [_reply(average, 10, 1)])
        assert arrays is not None
        theirs = arrays[KEY].numpy()
        ours, optimiser = step(run, ours, optimiser, average, server_round)
        assert ours.tobytes() == theirs.tobytes()


def _hand_over(strategy: Strategy, params: np.ndarray, server_round: int) -> None:
    """Give a strategy the model of the round in the way that its own start does."""
    strategy.fraction_train = 0.0
    strategy.configure_train(
        server_round, ArrayRecord({KEY: Array(params)}), ConfigRecord(), grid=None
    )
