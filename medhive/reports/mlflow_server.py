"""Starting a local MLflow server quickly: one process, one database file, no extras.

``mlflow server`` imports MLflow twice, makes the database before it listens, and starts a job
runner beside the web server. This runs the same application by itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def server_command(port: int) -> list[str]:
    """Return the command of a local MLflow server; it ends on SIGTERM and has no children.

    Parameters
    ----------
    port : int
        On 127.0.0.1.
    """
    options = ["--workers", "1", "--lifespan", "off", "--no-access-log", "--log-level", "warning"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    server = [sys.executable, "-W", "ignore", "-m", "uvicorn"]
    return [*server, "mlflow.server.fastapi_app:app", *where, *options]


def server_environment(folder: Path) -> dict[str, str]:
    """Return the whole environment of the server.

    Parameters
    ----------
    folder : Path
        Where it keeps ``mlflow.db`` and ``artifacts``.
    """
    store = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    return {
        **os.environ,
        # what `mlflow server` itself hands to the application
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str((folder / "artifacts").resolve()),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
