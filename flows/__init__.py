"""Prefect flows around the project: they train, ingest, retrain, promote and roll back.

Nothing of `itkm` imports this package. What is to be done stands in `dvc.yaml` and in the command `itkm`; a flow only
says when, where, and what is told to whom.
"""

from __future__ import annotations

import os

# Read when prefect is imported: no word to the outside, time for a server that starts on a busy machine, and patience
# with one that does not answer or says that it failed, as where its data base is locked: a run may have taken hours.
for name, value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}.items():
    os.environ.setdefault(name, value)
