"""The services of compose.yaml, started by its own commands as far as they start without containers.

Postgres with its two data bases, Prefect's server and MLflow on them, a worker, and the pages of the reports: each is
healthy, lets in who knows the password, and nobody else.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

pytest.importorskip("prefect")
pytest.importorskip("flask_wtf")  # of docker/requirements.txt, for MLflow's sign-in
pytest.importorskip("psycopg2")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SERVICES = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
EXPERIMENTS = "/api/2.0/mlflow/experiments/search?max_results=1"
PATIENCE = 480  # seconds; servers start slowly on a busy machine


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Server:
    """A process that serves, its log, and its address where it is a service of compose."""

    process: subprocess.Popen[bytes]
    log: Path
    address: str = ""

    def wait_for(self, healthy: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if healthy():
                    return
            time.sleep(0.5)
        raise TimeoutError(self.log.read_text(encoding="utf-8")[-3000:])


@dataclass
class Machine:
    """What compose gives to its services: a port each, secrets, and places for files."""

    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in SERVICES})

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text(encoding="utf-8")

    def adapt(self, text: str) -> str:
        """The names and paths that hold inside compose, by those that hold here."""
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        here = {
            "prefect-server:4200": at["prefect-server"],
            "mlflow:5000": at["mlflow"],
            "@postgres/": f"@{at['postgres']}/",
            "/etc/mlflow_auth.ini": str(self.folder / "mlflow_auth.ini"),
            "/var/lib/": f"{self.folder}/lib/",
            "/tmp/": f"{self.folder}/tmp/",
            "/run/secrets": str(self.folder / "secrets"),
            "/srv/project": str(self.folder / "project"),
        }
        defaults = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)
        return re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], defaults)

    def environment(self, service: str) -> dict[str, str]:
        """What compose gives to a service, and of ours only what a process cannot do without."""
        given = {name: self.adapt(str(value)) for name, value in SERVICES[service]["environment"].items()}
        here = {
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": str(self.ports["postgres"]),
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.ports["worker"]),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        return {**given, **here}

    @contextlib.contextmanager
    def serving(self, name: str, command: list[str], environment: dict[str, str]) -> Iterator[Server]:
        """A process, stopped at the end with all that it started."""
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Server(process, log)
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, number)
                    process.wait(timeout=30)

    @contextlib.contextmanager
    def running(self, service: str, health: str) -> Iterator[Server]:
        """A service by its own command and entry point, healthy."""
        command = list(SERVICES[service]["command"])
        for option, value in (("--host", "127.0.0.1"), ("--port", str(self.ports[service]))):
            if option in command:
                command[command.index(option) + 1] = value
        secrets = self.folder / f"secrets-of-{service}"
        secrets.mkdir()
        for given in SERVICES[service]["secrets"]:
            (secrets / given["target"]).write_text(self.secret(given["source"]), encoding="utf-8")
        entry = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8").replace("/run/secrets", str(secrets))
        with self.serving(service, ["sh", "-c", entry, service, *command], self.environment(service)) as server:
            server.address = f"http://127.0.0.1:{self.ports[service]}"
            server.wait_for(lambda: status(f"{server.address}{health}") == 200)
            yield server


def status(address: str, sign_in: str = "", *, host: str = "") -> int:
    """What a server answers to `user:password`, as a number."""
    request = urllib.request.Request(address)
    if sign_in:
        request.add_header("Authorization", f"Basic {base64.b64encode(sign_in.encode()).decode()}")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    subprocess.run(["sh", DOCKER / "secrets.sh", machine.folder / "secrets"], check=True, capture_output=True)
    for name in ("lib/prefect", "lib/mlflow", "tmp"):
        (machine.folder / name).mkdir(parents=True)
    ini = (DOCKER / "mlflow_auth.ini").read_text(encoding="utf-8")
    (machine.folder / "mlflow_auth.ini").write_text(machine.adapt(ini), encoding="utf-8")
    return machine


@pytest.fixture(scope="module")
def postgres(machine: Machine) -> Iterator[Machine]:
    """A server that asks for passwords, after docker/databases.sh ran on it."""
    if POSTGRES is None:
        pytest.skip("needs Debian's package postgresql")
    root = getpass.getuser() == "root"  # under which Postgres does not start
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
    port = str(machine.ports["postgres"])
    short = Path(tempfile.mkdtemp())  # the path of a socket must be short
    (short / "password").write_text(machine.secret("postgres_password"), encoding="utf-8")
    asks = ["--auth-host=scram-sha-256", "--auth-local=trust", f"--pwfile={short}/password"]
    script = machine.adapt((DOCKER / "databases.sh").read_text(encoding="utf-8"))
    environment = {**os.environ, "PGHOST": str(short), "PGPORT": port, "PATH": f"{POSTGRES}:{os.environ['PATH']}"}
    try:
        if root:
            subprocess.run(["chown", "-R", "postgres", short], check=True)
        make = [*user, f"{POSTGRES}/initdb", "-D", f"{short}/data", "-U", "postgres", *asks]
        subprocess.run(make, check=True, capture_output=True, cwd=short)
        serve = [*user, f"{POSTGRES}/postgres", "-D", f"{short}/data", "-p", port, "-k", str(short), "-h", "127.0.0.1"]
        with machine.serving("postgres", serve, environment) as server:
            ready = [f"{POSTGRES}/{SERVICES['postgres']['healthcheck']['test'][1]}", "-h", "127.0.0.1", "-p", port]
            server.wait_for(lambda: subprocess.run(ready, capture_output=True).returncode == 0)
            subprocess.run(["sh", "-c", script], check=True, env=environment, capture_output=True)
            yield machine
    finally:
        shutil.rmtree(short)


@pytest.fixture(scope="module")
def prefect(postgres: Machine) -> Iterator[str]:
    with postgres.running("prefect-server", "/api/health") as server:
        yield server.address


@pytest.fixture(scope="module")
def mlflow(postgres: Machine) -> Iterator[str]:
    with postgres.running("mlflow", "/health") as server:
        yield server.address


def test_the_data_bases_are_apart_and_ask_for_their_passwords(postgres: Machine) -> None:
    import psycopg2

    def connect(user: str, database: str, password: str) -> None:
        port = postgres.ports["postgres"]
        psycopg2.connect(host="127.0.0.1", port=port, user=user, dbname=database, password=password).close()

    for name in ("prefect", "mlflow"):
        connect(name, name, postgres.secret(f"{name}_database_password"))
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            connect(name, name, "wrong")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        connect("mlflow", "prefect", postgres.secret("mlflow_database_password"))


def test_prefect_lets_in_who_knows_the_password(prefect: str, postgres: Machine) -> None:
    page = f"{prefect}/api/admin/version"
    assert status(page, postgres.secret("prefect_auth")) == 200
    assert status(page, "itkm:wrong") == 401
    assert status(page) == 401
    assert status(f"{prefect}/api/health") == 200  # the health check has no password


def test_a_worker_signs_in_and_is_healthy(prefect: str, postgres: Machine) -> None:
    environment = {**postgres.environment("worker"), "PREFECT_API_AUTH_STRING": postgres.secret("prefect_auth")}

    def listed() -> bool:
        pools = subprocess.run(["prefect", "work-pool", "ls"], env=environment, capture_output=True, text=True)
        assert pools.returncode == 0, pools.stdout + pools.stderr
        return re.search(r"\bitkm\b.*\bprocess\b", pools.stdout) is not None

    with postgres.running("worker", "/health") as worker:
        worker.wait_for(listed)  # Prefect's workers are healthy from their first moment on, before they sign in


def test_a_worker_with_a_wrong_password_says_so(prefect: str, postgres: Machine) -> None:
    environment = {**postgres.environment("worker"), "PREFECT_API_AUTH_STRING": "itkm:wrong"}
    command = SERVICES["worker"]["command"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr


def test_mlflow_lets_in_who_knows_the_password(mlflow: str, postgres: Machine) -> None:
    page = f"{mlflow}{EXPERIMENTS}"
    assert status(page, f"admin:{postgres.secret('mlflow_password')}") == 200
    assert status(page, "admin:wrong") == 401
    assert status(page) == 401
    assert status(f"{mlflow}/health") == 200


def test_mlflow_answers_to_its_own_names_only(mlflow: str, postgres: Machine) -> None:
    sign_in = f"admin:{postgres.secret('mlflow_password')}"
    assert status(f"{mlflow}{EXPERIMENTS}", sign_in, host="elsewhere.example") == 403


def test_mlflow_keeps_models_for_its_clients(mlflow: str, postgres: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", postgres.secret("mlflow_password"))
    client = MlflowClient(mlflow)
    run = client.create_run(client.create_experiment("proof")).info.run_id
    client.log_text(run, "weights", "model/config.json")
    assert [item.path for item in client.list_artifacts(run, "model")] == ["model/config.json"]
    kept = (postgres.folder / "lib" / "mlflow").rglob("config.json")
    assert [path.read_text() for path in kept] == ["weights"]


def test_a_backup_restores_the_data_bases(
    mlflow: str, postgres: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the very lines of docs/deployment.md, but for `docker compose exec`."""
    from mlflow import MlflowClient

    guide = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    dump, restore = (line for line in guide.splitlines() if line.startswith("for name in prefect mlflow; do"))
    where = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgres.ports["postgres"]),
        "PATH": f"{POSTGRES}:{os.environ['PATH']}",
    }
    access = where | {"PGPASSWORD": postgres.secret("postgres_password")}

    def run(line: str) -> None:
        command = ["sh", "-ec", line.replace("docker compose exec -T postgres ", "")]
        subprocess.run(command, cwd=tmp_path, env=access, check=True)

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", postgres.secret("mlflow_password"))
    client = MlflowClient(mlflow)
    kept = client.create_experiment("kept")
    run(dump)
    client.rename_experiment(kept, "changed")
    client.create_experiment("later")
    run(restore)
    names = {own.name for own in client.search_experiments()}
    assert "kept" in names
    assert not names & {"changed", "later"}


@pytest.fixture(scope="module")
def reports(machine: Machine) -> Iterator[str]:
    """The pages of a project, served by nginx with docker/reports.conf."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("needs Debian's package nginx-light")
    for name in (*SERVED, *KEPT):
        file = machine.folder / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name, encoding="utf-8")
    address = f"127.0.0.1:{machine.ports['reports']}"
    site = machine.adapt((DOCKER / "reports.conf").read_text(encoding="utf-8")).replace(
        "listen 8080", f"listen {address}"
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {machine.folder}/{kind};" for kind in kinds)
    user = "user root;" if getpass.getuser() == "root" else ""
    main = f"{user} daemon off; pid {machine.folder}/nginx.pid; error_log stderr; events {{}}"
    configuration = machine.folder / "nginx.conf"
    configuration.write_text(f"{main} http {{ access_log off; {places} {site} }}", encoding="utf-8")
    command = [nginx, "-p", str(machine.folder), "-c", str(configuration)]
    with machine.serving("nginx", command, dict(os.environ)) as server:
        server.wait_for(lambda: status(f"http://{address}/health") == 200)
        yield f"http://{address}"


SERVED = ("reports/report.html", "feeds/c1/report.html", "feeds/c1/data-docs/index.html", "feeds/c1/validation.json")
KEPT = (
    *("data/vi/c1.tar", "feeds/c1/images/1.jpg", "feeds/c1/quarantine/2.jpg", ".git/config", "params.yaml"),
    *("feeds/c1/images/data-docs/3.jpg", "feeds/c1/quarantine/report.html", "feeds/c1/claimed/reports/4.html"),
)


def test_reports_are_for_those_who_know_the_password(reports: str, machine: Machine) -> None:
    known = f"itkm:{machine.secret('reports_password')}"
    for page in ("", *SERVED):
        assert status(f"{reports}/{page}", known) == 200, page
        assert status(f"{reports}/{page}", "itkm:wrong") == 401
        assert status(f"{reports}/{page}") == 401


@pytest.mark.parametrize("page", KEPT)
def test_nothing_but_reports_is_served(reports: str, machine: Machine, page: str) -> None:
    assert status(f"{reports}/{page}", f"itkm:{machine.secret('reports_password')}") == 404
