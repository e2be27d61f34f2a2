"""A federation on Flower's simulation engine, which runs the sites on Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
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
        If Ray is not installed, or nobody answers at `address`.
    """
    if find_spec("ray") is None:
        raise SettingError(
            "Ray is not installed",
            place=Place(setting="--backend"),
            next_step="install it with: pip install 'medhive[ray]'",
        )
    fits: list[Fit] = []
    errors: list[MedHiveError] = []

    def main(grid: Grid, context: Context) -> None:
        exchange = GridExchange(grid, study, progress, join_timeout=120.0)
        try:
            fits.append(run_rounds(study, exchange, progress))
        except MedHiveError as error:
            # the engine would print it with a traceback and raise another one
            errors.append(error)

    init: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is not None:
        init["address"] = address
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    # Ray reads these when it starts: no report to third parties, no warning about graphics cards
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        run_simulation(
            server_app(main),
            partition_app({name: path.absolute() for name, path in files.items()}),
            num_supernodes=len(files),
            backend_config={
                "init_args": init,
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is None:
            raise
        raise SettingError(
            f"the Ray cluster cannot be used: {error}",
            place=Place(setting="--ray-address"),
            next_step="check the address, and that the cluster runs the same Ray and Python",
        ) from error
    if errors:
        raise errors[0]
    if not fits:
        raise FederationError("Flower's simulation ended without a result")
    return fits[0]


def partition_app(files: Mapping[str, Path]) -> ClientApp:
    """Return a ClientApp whose n-th partition is the n-th site."""
    names = sorted(files)

    def site_of(context: Context) -> Site:
        name = names[int(context.node_config["partition-id"])]
        return _site(name, files[name])

    return client_app(site_of)


@cache
def _site(name: str, path: Path) -> Site:
    return Site(name, lambda study: load_site(path, study, name), simulated=True)
