from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
TEMPLATE = json.loads((FOLDER / "base-job-template.json").read_text(encoding="utf-8"))
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "itkm.yaml").read_text(encoding="utf-8")))
POD = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [item for item in OBJECTS if item["kind"] == kind]
    return found


def test_every_variable_is_used_and_every_use_has_one() -> None:
    used = {part.split("}}")[0].strip() for part in json.dumps(TEMPLATE["job_configuration"]).split("{{")[1:]}
    assert used == set(TEMPLATE["variables"]["properties"])


def test_one_gpu_a_run_and_no_second_try() -> None:
    (container,) = POD["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert TEMPLATE["variables"]["properties"]["gpus"]["default"] == 1
    job = TEMPLATE["job_configuration"]["job_manifest"]["spec"]
    assert (job["backoffLimit"], job["completions"], job["parallelism"], POD["restartPolicy"]) == (0, 1, 1, "Never")


@pytest.mark.parametrize("pod", [POD, of_kind("Deployment")["spec"]["template"]["spec"]], ids=["run", "worker"])
def test_nobody_is_root_and_nothing_can_be_changed(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["envFrom"] == [{"secretRef": {"name": "itkm"}}]
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_run_may_not_ask_the_cluster_and_the_worker_only_in_its_namespace() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert {item["kind"] for item in OBJECTS}.isdisjoint({"ClusterRole", "ClusterRoleBinding"})
    assert {item["metadata"].get("namespace", "itkm") for item in OBJECTS} == {"itkm"}


def test_the_cache_is_shared() -> None:
    claim = of_kind("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert TEMPLATE["variables"]["properties"]["cache_claim"]["default"] == claim["metadata"]["name"]
    mounts = {mount["name"]: mount["mountPath"] for mount in POD["containers"][0]["volumeMounts"]}
    assert f"dir = {mounts['cache']}\n" in of_kind("ConfigMap")["data"]["config"]
    assert TEMPLATE["variables"]["properties"]["env"]["default"]["DVC_GLOBAL_CONFIG_DIR"] == mounts["dvc"]


def test_dvc_reads_the_shared_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = pytest.importorskip("dvc.config")
    (tmp_path / "config").write_text(of_kind("ConfigMap")["data"]["config"], encoding="utf-8")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))
    assert config.Config()["cache"]["dir"] == "/cache"


def test_prefects_worker_makes_the_job_of_a_flow_run() -> None:
    worker = pytest.importorskip("prefect_kubernetes.worker")
    from prefect.client.schemas.objects import FlowRun

    configuration = worker.KubernetesWorkerJobConfiguration
    values = {"image": "registry.example/itkm@sha256:beef", "node_selector": {"gpu": "h100"}}
    asks_nobody = object()  # a client; only references to blocks would need one
    made = asyncio.run(configuration.from_template_and_values(TEMPLATE, values, client=asks_nobody))
    made.prepare_for_flow_run(FlowRun(id=uuid4(), name="brave-otter", flow_id=uuid4()))
    pod = made.job_manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == values["image"]
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert container["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": 1}
    assert pod["nodeSelector"] == {"gpu": "h100"}
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert given["DVC_GLOBAL_CONFIG_DIR"] == "/etc/dvc"
    assert "PREFECT__FLOW_RUN_ID" in given
