"""Server, worker and MLflow of one machine: `python -m flows.services up | down | status | deploy`.

All listen on loopback alone. Their logs, data bases and process numbers lie in `.itkm/services/` of the project.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from flows.locks import alone
from itkm.errors import InputError, ItkmError
from itkm.files import write_json

FOLDER = Path(".itkm", "services")
HOME = FOLDER / "home"  # of Prefect
LOCK = HOME / "concurrency_leases" / "expirations.lock"  # that a killed server leaves; its number may be taken anew
HOST = "127.0.0.1"
PATIENCE = 300.0  # seconds until a service must be healthy
PROCESS_POOL = ("--pool", "itkm", "--type", "process")
ENGINE = "prefect.engine"  # the module that is a run's first process
OF_SERVICE, OF_RUN = "ITKM_SERVICE", "PREFECT__FLOW_RUN_ID"  # variables of whatever a service, or a run, has started
GRACE = 45.0  # seconds for a clean end; a run that is stopped takes up to 30


@dataclass(frozen=True)
class Service:
    """A process that serves.

    Attributes:
        name: of its log and of the file with its process number.
        port: on which it listens.
        health: path that answers when it works.
        command: that starts it, after `python -m`.
        page: what people open; "" where there is nothing to see.
    """

    name: str
    port: int
    health: str
    command: tuple[str, ...]
    page: str = ""

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"


def services() -> list[Service]:
    """What runs, in the order in which it starts. A port is chosen by `ITKM_<NAME>_PORT`."""
    prefect, mlflow, worker = _port("PREFECT", 4200), _port("MLFLOW", 5000), _port("WORKER", 8080)
    listen = ("--host", HOST, "--port")
    store = ("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts", "--workers", "1")
    return [
        Service("prefect", prefect, "/api/health", ("prefect", "server", "start", *listen, str(prefect)), "/dashboard"),
        Service("mlflow", mlflow, "/health", ("mlflow", "server", *listen, str(mlflow), *store), "/"),
        Service("worker", worker, "/health", ("prefect", "worker", "start", *PROCESS_POOL, "--with-healthcheck")),
    ]


def _port(name: str, default: int) -> int:
    variable = f"ITKM_{name}_PORT"
    value = os.environ.get(variable) or str(default)
    if not (value.isdecimal() and 0 < int(value) < 2**16):
        raise InputError(f"{variable}: {value!r} is no port. Give a number from 1 to 65535, or unset it.")
    return int(value)


def addresses() -> dict[str, str]:
    """Variables with which processes, also yours, find the services."""
    prefect, mlflow, _ = services()
    return {"PREFECT_API_URL": f"{prefect.address}/api", "MLFLOW_TRACKING_URI": mlflow.address}


def environment() -> dict[str, str]:
    """Variables of the services themselves, and of all that they start."""
    return {
        "PREFECT_HOME": str(HOME.resolve()),
        "PREFECT_WORKER_QUERY_SECONDS": "5",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # Leases outlive a server that is killed: else its place in a queue would be held for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its background jobs are for traces of language models
        **os.environ,
        **addresses(),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PREFECT_WORKER_WEBSERVER_HOST": HOST,
        "PREFECT_WORKER_WEBSERVER_PORT": str(services()[-1].port),
    }


def up() -> None:
    """Starts what does not run yet, waits until all is healthy, and sees to the runs of a server that had died.

    Raises:
        InputError: a port is taken by something else.
        ItkmError: a service does not come up; its last lines are shown.
    """
    with alone(FOLDER / "lock", patient=True):
        *servers, worker = services()
        if forgetful := not find(servers[0]):
            LOCK.unlink(missing_ok=True)
        for group in (servers, [worker]):  # a worker ends at once where no server answers
            started = {service: find(service) or _start_anew(service) for service in group}
            for service, process in started.items():
                _await(service, process)
                click.echo(f"{service.name:8} {service.address}{service.page}")
    if forgetful:
        os.environ.update(environment())
        from flows.automations import ask
        from flows.by_hand import by_hand

        by_hand(ask)
    lines = [f"  export {name}={value}" for name, value in addresses().items()]
    click.echo("\n".join(["For your own shell:", *lines]))


def down() -> None:
    """Ends all services, the worker with its runs first; what a run has finished is kept."""
    with alone(FOLDER / "lock", patient=True):
        for service in reversed(services()):
            if _end(service):
                click.echo(f"{service.name:8} stopped")
            (FOLDER / f"{service.name}.json").unlink(missing_ok=True)


def status() -> None:
    """Says what works.

    Raises:
        ItkmError: not everything does.
    """
    healthy = {service: find(service) is not None and _answers(service) for service in services()}
    for service, good in healthy.items():
        click.echo(f"{service.name:8} {service.address}{service.page}  {'works' if good else 'does not answer'}")
    if not all(healthy.values()):
        raise ItkmError(f"not everything works. Type `make up`; logs lie in {FOLDER}.")


def deploy() -> None:
    """Registers pools, deployments and automations at `PREFECT_API_URL`, by default the server of `make up`.

    Runs that go on are asked for a sign of life: automations that are new do not know them.

    Raises:
        ItkmError: the server does not take them.
    """
    own = {"ITKM_PROJECT": str(Path.cwd()), "ITKM_USER": f"{os.getuid()}:{os.getgid()}"}
    for name, value in {**addresses(), **own}.items():
        os.environ.setdefault(name, value)
    from flows.by_hand import by_hand

    by_hand(_register)


def _register() -> None:
    from flows.automations import ask
    from flows.automations import deploy as deploy_automations
    from flows.pools import make_pools

    make_pools()
    done = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"])
    if done.returncode:
        raise ItkmError("prefect refused a deployment of prefect.yaml; its message stands above.")
    for name in deploy_automations():
        click.echo(f"automation {name!r}")
    ask()


def find(service: Service) -> psutil.Process | None:
    """The process that `up` started for a service, if it still runs."""
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        known = json.loads((FOLDER / f"{service.name}.json").read_text(encoding="utf-8"))
        process = psutil.Process(known["pid"])
        if process.create_time() == known["started"] and _runs(process):
            return process
    return None


def _start(service: Service) -> psutil.Process:
    """Starts a service in a session of its own, with its output in its log."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((HOST, service.port))
        except OSError as error:
            variable = f"ITKM_{service.name.upper()}_PORT"
            raise InputError(
                f"{service.name}: port {service.port} is taken by another process. End that one, or choose another "
                f"port with {variable}=N, for this command and those after it."
            ) from error
    with (FOLDER / f"{service.name}.log").open("ab") as log:
        process = psutil.Popen(
            [sys.executable, "-m", *service.command],
            env={**environment(), OF_SERVICE: _mark(service)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    write_json(FOLDER / f"{service.name}.json", {"pid": process.pid, "started": process.create_time()})
    return process


def _await(service: Service, process: psutil.Process) -> None:
    """Waits until a service answers."""
    until = time.monotonic() + PATIENCE
    while not _answers(service):
        if not _runs(process) or time.monotonic() > until:
            log = FOLDER / f"{service.name}.log"
            said = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
            raise ItkmError(f"{service.name} does not come up. The end of {log}:\n{said}")
        time.sleep(0.5)


def _answers(service: Service) -> bool:
    try:
        with urllib.request.urlopen(f"{service.address}{service.health}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _start_anew(service: Service) -> psutil.Process:
    """Starts a service; what one that was killed left goes first: it holds the port, or runs that none can cancel."""
    _end(service)
    return _start(service)


def _end(service: Service) -> bool:
    """Ends a service and all that it started, also where itself is gone; returns whether anything ran.

    A worker's runs go first, while it can take no other and the server still hears that they ended: each stops its
    stages, so that DVC holds no lock, and a retraining goes on when the services are started again.
    """
    if main := find(service):
        main.suspend()  # first: what it started after our look would be left
    family = _family(service)
    runs = [process for process, variables in family.items() if OF_RUN in variables]
    _ask([process for process in runs if _is_engine(process)])
    _outlasts(runs)
    _ask([main] if main else [])
    _outlasts([main] if main else [])
    _ask(family.keys() - runs)
    for left in _outlasts(family):
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    return bool(family)


def _is_engine(process: psutil.Process) -> bool:
    """Whether this is a run's first process, which ends all others of it."""
    with contextlib.suppress(psutil.Error):  # it has ended by itself
        return ENGINE in process.cmdline()
    return False


def _mark(service: Service) -> str:
    return str(FOLDER.resolve() / service.name)


def _family(service: Service) -> dict[psutil.Process, dict[str, str]]:
    """All processes that a service or anything below it has started, with their variables: by these they are known."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            variables = process.environ()
            if variables.get(OF_SERVICE) == _mark(service) and _runs(process):
                found[process] = variables
    return found


def _outlasts(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after the time for a clean end. A zombie does not: nobody may be there to take it away."""
    until = time.monotonic() + GRACE
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < until:
        time.sleep(0.2)
    return left


def _ask(processes: list[psutil.Process]) -> None:
    """Asks processes to end; one that is suspended hears it when it goes on."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            process.resume()


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


COMMANDS = {"up": up, "down": down, "status": status, "deploy": deploy}


@click.command()
@click.argument("command", type=click.Choice(list(COMMANDS)))
def main(command: str) -> None:
    """Start, stop or ask for the services of this machine, or register all deployments."""
    try:
        COMMANDS[command]()
    except ItkmError as error:
        click.echo(f"flows: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
