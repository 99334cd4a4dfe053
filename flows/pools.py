"""Prefect's work pools: processes on this machine, and containers with a GPU."""

from __future__ import annotations

import json
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

TEMPLATE = Path(__file__).with_name("gpu_pool.json")  # for workers of the package prefect-docker


def make_pools() -> None:
    """Creates the pools, or brings their templates up to date; nothing else of a pool that is there is changed."""
    templates = {
        "itkm": ("process", ProcessWorker.get_default_base_job_template()),
        "itkm-gpu": ("docker", json.loads(TEMPLATE.read_text(encoding="utf-8"))),
    }
    with get_client(sync_client=True) as client:
        for name, (kind, template) in templates.items():
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
            except ObjectAlreadyExists:  # a worker that starts creates its pool, too
                client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
