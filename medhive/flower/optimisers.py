"""Flower's own server optimisers, applied to the average of a round.

The average comes from a total that may have been masked, so Flower's strategies never see a
site's reply: they get the average as if one node had sent it, and do what they do with it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi

from medhive.errors import FederationError
from medhive.rows import Array
from medhive.study import Run

_KEY = "params"
_FedOpt = FedAdam | FedYogi | FedAdagrad


def has_optimiser(run: Run) -> bool:
    """Say whether the strategy changes the average before it becomes the model."""
    return run.strategy in {"fedadam", "fedyogi", "fedadagrad", "fedavgm"}


def step(
    run: Run,
    params: Array,
    optimiser: Mapping[str, Array],
    average: Array,
    server_round: int,
) -> tuple[Array, dict[str, Array]]:
    """Apply one server step.

    Parameters
    ----------
    run : Run
        Names the strategy and its numbers.
    params : ndarray, shape (n_params,)
        The model that the sites started from.
    optimiser : mapping of str to ndarray
        What the last step returned; empty before the first.
    average : ndarray, shape (n_params,)
        Weighted average of the sites' models.
    server_round : int
        From 1.

    Returns
    -------
    params : ndarray, shape (n_params,)
    optimiser : dict of str to ndarray
        Moments or momentum, to be given to the next step.

    References
    ----------
    Reddi et al., Adaptive Federated Optimization, ICLR 2021 (FedAdam, FedYogi, FedAdagrad);
    Hsu et al., arXiv:1909.06335 (FedAvgM).
    """
    # Flower logs every aggregation; MedHive has its own line for a round
    logging.getLogger("flwr").setLevel(logging.ERROR)
    strategy = _strategy(run)
    if isinstance(strategy, FedAvgM):
        strategy.current_arrays = _record(params)
        if "momentum" in optimiser:
            strategy.momentum_vector = [optimiser["momentum"]]
    else:
        strategy.current_arrays = {_KEY: params}
        if "m" in optimiser:
            strategy.m_t, strategy.v_t = {_KEY: optimiser["m"]}, {_KEY: optimiser["v"]}
    arrays, _ = strategy.aggregate_train(server_round, [_as_reply(average)])
    if arrays is None:
        raise FederationError(f"Flower's {run.strategy} returned no model")
    new = np.asarray(arrays[_KEY].numpy(), dtype=np.float64)
    if isinstance(strategy, FedAvgM):
        momentum = strategy.momentum_vector
        return new, {} if momentum is None else {"momentum": np.asarray(momentum[0])}
    if strategy.m_t is None or strategy.v_t is None:
        raise FederationError(f"Flower's {run.strategy} kept no moments")
    return new, {"m": strategy.m_t[_KEY], "v": strategy.v_t[_KEY]}


def _strategy(run: Run) -> _FedOpt | FedAvgM:
    def number(value: float | None) -> float:
        if value is None:
            raise ValueError(f"{run.strategy} lacks one of its numbers")
        return value

    match run.strategy:
        case "fedadam" | "fedyogi":
            kind = FedAdam if run.strategy == "fedadam" else FedYogi
            return kind(
                eta=number(run.eta),
                beta_1=number(run.beta_1),
                beta_2=number(run.beta_2),
                tau=number(run.tau),
            )
        case "fedadagrad":
            return FedAdagrad(eta=number(run.eta), tau=number(run.tau))
        case "fedavgm":
            return FedAvgM(
                server_learning_rate=number(run.server_learning_rate),
                server_momentum=number(run.server_momentum),
            )
        case _:
            raise ValueError(f"{run.strategy} has no optimiser at the server")


def _record(params: Array) -> ArrayRecord:
    return ArrayRecord({_KEY: FlowerArray(params)})


def _as_reply(average: Array) -> Message:
    content = RecordDict({"arrays": _record(average), "metrics": MetricRecord({"num-examples": 1})})
    metadata = Metadata(
        run_id=0,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=SUPERLINK_NODE_ID,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=1.0,
        message_type="train",
    )
    return make_message(metadata=metadata, content=content)
