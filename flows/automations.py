"""Prefect's automations as code: what goes on by itself, and who is told of what.

`ITKM_NOTIFY_URL` is the address that receives notices: a JSON object with the key `text`, as chat servers take it.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from uuid import UUID

from prefect.automations import AutomationCore, CallWebhook, ChangeFlowRunState, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events import Event
from prefect.events.clients import get_events_client
from pydantic import SecretStr

if TYPE_CHECKING:
    from prefect.automations import Trigger
    from prefect.client.schemas.objects import FlowRun, WorkPool

BLOCK = "itkm-notices"
SILENCE = timedelta(seconds=90)  # three heartbeats
START = timedelta(minutes=5)  # between a worker's word and the process
AGAIN = timedelta(seconds=30)  # between a crash and the next try
CONTAINER_START = timedelta(hours=1)  # before which an image is pulled, and perhaps a machine is ordered
RUN = {"prefect.resource.id": "prefect.flow-run.*"}
HEARTBEAT = "prefect.flow-run.heartbeat"
ASKED, ASKED_STARTING = "itkm.run.asked", "itkm.run.asked-starting"  # what `ask` says of a run
STARTING = {f"prefect.flow-run.{state}" for state in ("Pending", "Submitting", "InfrastructurePending")}
RUNNING = {f"prefect.flow-run.{state}" for state in ("Running", "Retrying")}
CRASHED = {"prefect.flow-run.Crashed"}
ENDED = {*CRASHED, *(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled"))}
OF_RETRAINING = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.retrain"}
OF_FLOW = "Flow run {{ flow_run.name }} of {{ flow.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}"
OF_MODEL = "Model {{ event.event }}, champion {{ event.payload.champion }}: {{ event.payload.reasons | join('; ') }}"
OF_FEED = "Feed {{ event.event }}, camera {{ event.payload.camera }}: {{ event.payload.reason }}"


def automations(block: UUID | None) -> list[AutomationCore]:
    """All automations; without a block that knows an address, nobody is told anything."""
    found = [_silent_is_crashed(), *_unstarted_is_crashed(), _crashed_is_retried()]
    if block is not None:
        found += [
            _notice("itkm: a run failed", _runs("Failed", "Rejected", "Crashed", "TimedOut"), OF_FLOW, block),
            _notice("itkm: a run is late", _runs("Late"), OF_FLOW, block),
            _notice("itkm: a model was promoted or refused", _events("itkm.model.*"), OF_MODEL, block),
            _notice("itkm: a feed was accepted or rejected", _events("itkm.feed.*"), OF_FEED, block),
        ]
    return found


def deploy() -> list[str]:
    """Creates the automations, or brings those of the same name up to date; returns their names."""
    address = os.environ.get("ITKM_NOTIFY_URL")
    block = cast(UUID, Webhook(url=SecretStr(address)).save(BLOCK, overwrite=True)) if address else None
    wanted = automations(block)
    with get_client(sync_client=True) as client:
        there = {own.name: own for own in client.read_automations()}
        for automation in wanted:
            if automation.name in there:
                client.update_automation(there[automation.name].id, automation)
            else:
                client.create_automation(automation)
    return [automation.name for automation in wanted]


def ask() -> None:
    """Asks all runs that have begun and not ended for a sign of life; one that gives none has crashed.

    A server that is killed forgets the events that it had not yet looked at: without this, a run whose last word was
    among them would stay as it is, and keep its place, for ever.
    """
    begun = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    chosen = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=begun)))
    with get_client(sync_client=True) as client:
        pools = {pool.name: pool for pool in client.read_work_pools()}
        asked = [_asked(run, pools.get(run.work_pool_name)) for run in client.read_flow_runs(flow_run_filter=chosen)]
    asyncio.run(_emit(asked))


def _asked(run: FlowRun, pool: WorkPool | None) -> Event:
    resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}"}
    related = [{"prefect.resource.id": f"prefect.work-pool.{pool.id}", **_of_pool(pool.type)}] if pool else []
    starting = run.state is not None and run.state.is_pending()
    return Event(event=ASKED_STARTING if starting else ASKED, resource=resource, related=related)


async def _emit(events: list[Event]) -> None:
    async with get_events_client(checkpoint_every=1) as client:  # each is there when this ends
        for event in events:
            await client.emit(event)


def _silent_is_crashed() -> AutomationCore:
    """A run whose process died with its worker says nothing more: it is called crashed, which frees its place."""
    trigger = _missing({HEARTBEAT, *ENDED}, after={HEARTBEAT, ASKED, *RUNNING}, within=SILENCE)
    return _crash("itkm: a silent run has crashed", trigger, "No heartbeat: its process is gone.")


def _unstarted_is_crashed() -> list[AutomationCore]:
    """A run whose worker died before it had started anything would stay pending, and keep its place, for ever."""
    anything = {"prefect.flow-run.*"}  # also another step of its start, at which the time begins anew
    crashes = []
    for what, pools, within in (("run", "process", START), ("container", "!process", CONTAINER_START)):
        trigger = _missing(anything, after={*STARTING, ASKED_STARTING}, within=within, related=_of_pool(pools))
        name = f"itkm: a {what} that does not start has crashed"
        crashes.append(_crash(name, trigger, "It did not start: its worker is gone."))
    return crashes


def _crashed_is_retried() -> AutomationCore:
    """A retraining whose process died is scheduled again: it finds its clone and goes on.

    Not at once: the worker may still say that the same process died, which would end the new one's run. And only if
    nothing has happened to the run since.
    """
    later = {f"prefect.flow-run.{state}" for state in ("Scheduled", "AwaitingRetry")}
    trigger = _missing(
        {*later, *STARTING, *RUNNING, *ENDED} - CRASHED, after=CRASHED, within=AGAIN, related=OF_RETRAINING
    )
    action = ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message="Its process had died.")
    return AutomationCore(name="itkm: a crashed retraining goes on", trigger=trigger, actions=[action])


def _of_pool(kind: str) -> dict[str, str]:
    return {"prefect.resource.role": "work-pool", "prefect.work-pool.type": kind}


def _missing(
    expected: set[str], *, after: set[str], within: timedelta, related: dict[str, str] | None = None
) -> EventTrigger:
    """Fires for a run, related to something, that after one of some events gives none of those expected in time."""
    return EventTrigger(
        match=RUN,
        match_related=related or {},
        for_each={"prefect.resource.id"},
        after=after,
        expect=expected,
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _crash(name: str, trigger: Trigger, message: str) -> AutomationCore:
    action = ChangeFlowRunState(state=StateType.CRASHED, message=message)
    return AutomationCore(name=name, trigger=trigger, actions=[action])


def _runs(*states: str) -> EventTrigger:
    return EventTrigger(match=RUN, expect={f"prefect.flow-run.{state}" for state in states}, posture=Posture.Reactive)


def _events(name: str) -> EventTrigger:
    return EventTrigger(expect={name}, posture=Posture.Reactive)


def _notice(name: str, trigger: Trigger, text: str, block: UUID) -> AutomationCore:
    payload = "{{ {'text': message} | tojson }}"
    return AutomationCore(
        name=name,
        trigger=trigger,
        actions=[CallWebhook(block_document_id=block, payload=f"{{% set message %}}{text}{{% endset %}}{payload}")],
    )
