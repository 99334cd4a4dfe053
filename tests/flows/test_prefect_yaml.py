"""prefect.yaml and the pools that its deployments name."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prefect import Flow

ROOT = Path(__file__).parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
TEMPLATE = json.loads((ROOT / "flows" / "gpu_pool.json").read_text(encoding="utf-8"))
NAMES = [f"{each['entrypoint'].rpartition(':')[2]}-{each['name']}" for each in DEPLOYMENTS]


def gpus(container: dict[str, Any]) -> object:
    """What a container is given: a list of lists, as docker takes a plain one without a word and gives nothing."""
    (request,) = container["device_requests"]
    return request["capabilities"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_a_deployment_is_of_a_flow_and_waits_for_its_turn(deployment: dict[str, Any]) -> None:
    file, name = deployment["entrypoint"].split(":")
    flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(flow, Flow) and flow.name == name
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert all(schedule["cron"] and schedule["timezone"] for schedule in deployment["schedules"])
    assert deployment["tags"] and deployment["description"]


def test_every_flow_can_be_deployed() -> None:
    assert {name.partition("-")[0] for name in NAMES} == {"train", "retrain", "ingest_feed", "promote", "rollback"}


def test_an_accepted_feed_starts_a_retraining() -> None:
    (nightly,) = [each for each in DEPLOYMENTS if "triggers" in each]
    assert nightly["entrypoint"] == "flows/retrain.py:retrain"
    (trigger,) = nightly["triggers"]
    assert trigger["expect"] == ["itkm.feed.accepted"] and trigger["enabled"]


def test_a_container_of_the_gpu_pool_is_given_the_gpus() -> None:
    (gpu,) = [each for each in DEPLOYMENTS if each["work_pool"]["name"] == "itkm-gpu"]
    variables, known = gpu["work_pool"]["job_variables"], TEMPLATE["variables"]["properties"]
    assert gpus(variables["container_create_kwargs"]) == [["gpu"]]
    assert gpus(known["container_create_kwargs"]["default"]) == [["gpu"]]
    assert set(variables) <= set(known)


def test_prefect_docker_hands_on_to_docker_whose_the_container_is() -> None:
    """test_live.py shows what a deployment says of it."""
    worker = pytest.importorskip("prefect_docker.worker")
    own = {"env": {"MLFLOW_TRACKING_URI": "http://there"}, "container_create_kwargs": {"user": "7:8"}}
    job = worker.DockerWorkerJobConfiguration(command="true", name="run", image="itkm:gpu", labels={}, **own)
    client = SimpleNamespace(version=lambda: {"Version": "27.0"})
    made = worker.DockerWorker("itkm-gpu")._build_container_settings(client, job)
    assert (made["user"], made["environment"]) == ("7:8", own["env"])


def test_the_template_hands_on_each_of_its_variables() -> None:
    handed = {value.strip("{} ") for value in TEMPLATE["job_configuration"].values()}
    assert handed == set(TEMPLATE["job_configuration"]) == set(TEMPLATE["variables"]["properties"])
