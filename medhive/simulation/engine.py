"""A federation on Flower's simulation engine, which runs the sites on Ray."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.simulation import run_simulation

from medhive.client.answer import Site
from medhive.client.app import client_app
from medhive.data.site import load_site
from medhive.errors import FederationError, MedHiveError, Place, SettingError
from medhive.flower.exchange import GridExchange
from medhive.server.app import server_app
from medhive.server.rounds import Fit, run_rounds
from medhive.simulation.inline import Seen
from medhive.study import Study

ANSWER_TIME = 10.0
"""Seconds that a Ray cluster has for its first answer; Ray's own client would wait minutes."""


def run_on_ray(
    study: Study, files: Mapping[str, Path], progress: Seen, address: str | None = None
) -> Fit:
    """Run a study with each site as a virtual node of Flower's simulation.

    Parameters
    ----------
    study : Study
    files : mapping of str to Path
        The data of every site; on a cluster every machine must see them under these paths.
    progress : Seen
    address : str, optional
        Of a running Ray cluster; a local one is started where nothing is said.

    Raises
    ------
    SettingError
        If Ray is not installed, or no cluster answers at `address`.
    DataError
        If a site's rows break the contract.
    """
    if find_spec("ray") is None:
        raise SettingError(
            "Ray is not installed",
            place=Place(setting="--backend"),
            next_step="install it with: pip install 'medhive[ray]'",
        )
    # Ray reads these when it starts: no report to third parties, no warning about graphics cards
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _require_cluster(address)
    files = {name: path.absolute() for name, path in files.items()}
    for name, path in files.items():
        # an error in a worker would reach nobody but Ray's log
        load_site(path, study, name)
    fits: list[Fit] = []
    errors: list[MedHiveError] = []
    over = threading.Event()

    def work(grid: Grid) -> None:
        try:
            exchange = GridExchange(grid, study, progress, join_timeout=120.0)
            fits.append(run_rounds(study, exchange, progress))
        except MedHiveError as error:
            # the engine would print it with a traceback and raise another one
            errors.append(error)
        finally:
            over.set()

    def main(grid: Grid, context: Context) -> None:
        # a daemon, because nothing else ends a wait for sites when Ray fails or a person stops it
        threading.Thread(target=work, args=(grid,), daemon=True).start()
        over.wait()

    init: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is not None:
        init["address"] = address
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    try:
        run_simulation(
            server_app(main),
            partition_app(files),
            num_supernodes=len(files),
            backend_config={
                "init_args": init,
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise SettingError(
            f"Ray cannot be used: {cause}",
            place=Place(setting="--backend" if address is None else "--ray-address"),
            next_step="see Ray's own logs"
            if address is None
            else "check that the cluster runs the same Ray and Python",
        ) from error
    finally:
        over.set()
    if errors:
        raise errors[0]
    if not fits:
        raise FederationError("Flower's simulation ended without a result")
    return fits[0]


def _require_cluster(address: str) -> None:
    """Ask the cluster for its name, to fail within seconds where there is none."""
    import grpc  # type: ignore[import-untyped]

    channel_to: Any = import_module("ray._private.grpc_utils").init_grpc_channel
    messages: Any = import_module("ray.core.generated.gcs_service_pb2")
    services: Any = import_module("ray.core.generated.gcs_service_pb2_grpc")
    try:
        with channel_to(address) as channel:
            head = services.NodeInfoGcsServiceStub(channel)
            head.GetClusterId(messages.GetClusterIdRequest(), timeout=ANSWER_TIME)
    except grpc.RpcError as error:
        code = error.code().name.lower().replace("_", " ")
        raise SettingError(
            f"no Ray cluster answers at {address!r} ({code})",
            place=Place(setting="--ray-address"),
            next_step="give HOST:PORT as `ray start --head` prints it, such as 127.0.0.1:6379",
        ) from None


def partition_app(files: Mapping[str, Path]) -> ClientApp:
    """Return a ClientApp whose n-th partition is the n-th site."""
    names = sorted(files)

    def site_of(context: Context) -> Site:
        name = names[int(context.node_config["partition-id"])]
        return _site(name, files[name])

    return client_app(site_of)


@cache
def _site(name: str, path: Path) -> Site:
    return Site(name, partial(load_site, path, site=name), simulated=True)
