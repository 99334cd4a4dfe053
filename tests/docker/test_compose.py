from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = {"worker-gpu": ["gpu"], "s3": ["s3"]}
every_service = pytest.mark.parametrize("service", SERVICES)


def test_what_runs() -> None:
    always = {"postgres", "prefect-server", "mlflow", "reports", "worker"}
    assert set(SERVICES) == always | set(PROFILES)
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == PROFILES


@every_service
def test_health_is_asked_for_with_a_minute_to_start(service: str) -> None:
    check = SERVICES[service]["healthcheck"]
    assert check["start_period"] == "60s"
    asked = {
        "postgres": "pg_isready",
        "prefect-server": ":4200/api/health",
        "mlflow": ":5000/health",
        "reports": ":8080/health",
        "s3": ":8333/healthz",
    }
    assert check["test"][0] == "CMD"
    assert asked.get(service, ":8080/health") in " ".join(check["test"])


@every_service
def test_nobody_is_root_and_nothing_can_be_changed(service: str) -> None:
    given = SERVICES[service]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*|\$\{ITKM_USER:\?.+\}", given["user"])
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(given)
    assert "docker.sock" not in yaml.safe_dump(given)  # who may start containers is root on the machine


@every_service
def test_images_are_pinned(service: str) -> None:
    image = SERVICES[service]["image"]
    if image.startswith("itkm:"):
        assert image == f"itkm:{SERVICES[service]['build']['args']['DEVICE']}"
        assert (DOCKER / SERVICES[service]["build"]["context"] / SERVICES[service]["build"]["dockerfile"]).is_file()
    else:
        assert re.fullmatch(r"docker\.io/[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", image)
        assert "minio" not in image


@every_service
def test_this_machine_alone_is_served(service: str) -> None:
    assert all(port.startswith("${BIND:-127.0.0.1}:") for port in SERVICES[service].get("ports", []))
    assert "expose" not in SERVICES[service]


@every_service
def test_no_secret_stands_in_the_file(service: str) -> None:
    for name, value in SERVICES[service].get("environment", {}).items():
        if re.search("PASSWORD|SECRET|AUTH_STRING|ACCESS_KEY", name):
            assert name.endswith("_FILE") and value.startswith("/run/secrets/")
        assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value)), f"{name}: a password in an address"


@every_service
def test_every_secret_is_a_file_that_is_made_and_not_kept(service: str) -> None:
    used = {secret["source"] if isinstance(secret, dict) else secret for secret in SERVICES[service].get("secrets", [])}
    assert used <= set(COMPOSE["secrets"])


def test_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = [subprocess.run(["sh", DOCKER / "secrets.sh", folder], capture_output=True, text=True) for _ in "12"]
    assert [done.returncode for done in made] == [0, 0], made[0].stderr
    assert made[1].stdout == ""
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} <= {
        path.name for path in folder.iterdir()
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    words = [path.read_text() for path in folder.iterdir() if path.suffix != ".json" and path.name != "s3_access_key"]
    assert len(words) == len(set(words))
    assert all(len(word) >= 48 for word in words)
    assert {"/.env", "/secrets/"} <= set((DOCKER / ".gitignore").read_text().splitlines())


def test_who_asks_prefect_and_mlflow_signs_in() -> None:
    def targets(service: str) -> dict[str, str]:
        return {given["target"]: given["source"] for given in SERVICES[service]["secrets"] if isinstance(given, dict)}

    assert targets("prefect-server")["PREFECT_SERVER_API_AUTH_STRING"] == "prefect_auth"
    assert targets("mlflow")["MLFLOW_AUTH_ADMIN_PASSWORD"] == "mlflow_password"
    assert {"--app-name", "basic-auth"} <= set(SERVICES["mlflow"]["command"])
    for worker in ("worker", "worker-gpu"):
        assert targets(worker)["PREFECT_API_AUTH_STRING"] == "prefect_auth"
        assert targets(worker)["MLFLOW_TRACKING_PASSWORD"] == "mlflow_password"
    assert "default_permission = NO_PERMISSIONS" in (DOCKER / "mlflow_auth.ini").read_text(encoding="utf-8")


def test_both_sides_have_one_version_of_prefect() -> None:
    assert SERVICES["prefect-server"]["image"] == SERVICES["worker"]["image"] == SERVICES["mlflow"]["image"]


def test_workers_wait_for_the_servers_and_see_the_project_where_it_is() -> None:
    for name in ("worker", "worker-gpu"):
        worker = SERVICES[name]
        assert worker["depends_on"]["prefect-server"] == {"condition": "service_healthy"}
        assert worker["volumes"] == ["${ITKM_PROJECT}:${ITKM_PROJECT}"]
        assert "--with-healthcheck" in worker["command"]


def test_the_worker_with_a_gpu_asks_for_one() -> None:
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}  # compose's form; the API nests it
    assert SERVICES["worker-gpu"]["build"]["args"] == {"DEVICE": "gpu"}
    assert "deploy" not in SERVICES["worker"]


def capabilities(value: Any) -> list[Any]:
    """Every `capabilities` below a `device_requests`, as Docker's API takes them."""
    if isinstance(value, list):
        return [found for item in value for found in capabilities(item)]
    if not isinstance(value, dict):
        return []
    own = [request["capabilities"] for request in value.get("device_requests") or [] if isinstance(request, dict)]
    return own + [found for item in value.values() for found in capabilities(item)]


@pytest.mark.parametrize("path", [ROOT / "prefect.yaml", *DOCKER.glob("*.yaml"), *(ROOT / "flows").glob("*.json")])
def test_a_gpu_is_asked_of_dockers_api_in_nested_form(path: Path) -> None:
    asked = capabilities(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert all(form == [["gpu"]] for form in asked)
    assert asked or path.name != "prefect.yaml"


def test_every_variable_is_explained() -> None:
    known = set(re.findall(r"^(\w+)=", (DOCKER / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == known


def test_podman_compose_reads_it() -> None:
    compose = Path(sys.executable).with_name("podman-compose")
    if not (compose.exists() and shutil.which("podman")):
        pytest.skip("needs podman and podman-compose")
    command = [compose, "-f", DOCKER / "compose.yaml", "--env-file", DOCKER / ".env.example", "--profile", "gpu"]
    done = subprocess.run([*command, "--profile", "s3", "config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert set(read) == set(SERVICES)
    assert read["worker"]["user"] == "1000:1000"
    assert "127.0.0.1:4200:4200" in read["prefect-server"]["ports"]
