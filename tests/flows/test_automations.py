"""Automations: what goes on by itself, and what is told to whom."""

from __future__ import annotations

import inspect
import json
from uuid import uuid4

import jinja2
import pytest
from prefect import states
from prefect.client.schemas.objects import StateType
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import Resource

from flows.automations import ASKED, ASKED_STARTING, CONTAINER_START, ENDED, HEARTBEAT, START, automations

KINDS = ("process", "docker", "kubernetes")


def named(word: str) -> object:
    return next(each for each in automations(uuid4()) if word in each.name)


def events_of(kind: StateType) -> list[str]:
    """The event of each of Prefect's states of a type."""
    made = [make() for name, make in vars(states).items() if name[0].isupper() and inspect.isfunction(make)]
    return [f"prefect.flow-run.{state.name}" for state in made if state.type == kind]


def test_without_an_address_nobody_is_told() -> None:
    assert [each.name for each in automations(None)] == [
        "itkm: a silent run has crashed",
        "itkm: a run that does not start has crashed",
        "itkm: a container that does not start has crashed",
        "itkm: a crashed retraining goes on",
    ]


def test_names_are_told_apart() -> None:
    names = [each.name for each in automations(uuid4())]
    assert len(names) == len(set(names)) == 8


@pytest.mark.parametrize("word", ["failed", "late", "promoted", "rejected"])
def test_a_notice_is_json_whatever_a_message_holds(word: str) -> None:
    (action,) = named(word).actions
    state = {"name": "Failed", "message": 'quotes " and\nlines \\ and <tags>'}
    event = {"event": "itkm.x", "payload": {"champion": "1", "reasons": ['"'], "camera": "c", "reason": "\n"}}
    run = {"name": "run", "state": state}
    text = jinja2.Template(action.payload).render(flow_run=run, flow={"name": "train"}, event=event)
    assert set(json.loads(text)) == {"text"}


@pytest.mark.parametrize(("name", "kinds"), [("a run that", ["process"]), ("a container", ["docker", "kubernetes"])])
def test_a_container_has_longer_to_start_than_a_process(name: str, kinds: list[str]) -> None:
    trigger = EventTrigger.model_validate(named(name).trigger.model_dump())  # as the server sees it
    pool = {"prefect.resource.id": "prefect.work-pool.1", "prefect.resource.role": "work-pool"}
    pools = {kind: Resource({**pool, "prefect.work-pool.type": kind}) for kind in KINDS}
    assert [kind for kind in KINDS if trigger.match_related.matches(pools[kind])] == kinds
    assert trigger.within == (START if kinds == ["process"] else CONTAINER_START)


@pytest.mark.parametrize("name", ["a run that", "a container"])
@pytest.mark.parametrize("event", [*events_of(StateType.PENDING), ASKED_STARTING])
def test_a_run_that_is_being_started_has_to_say_more(name: str, event: str) -> None:
    trigger = EventTrigger.model_validate(named(name).trigger.model_dump())
    assert trigger.starts_after(event) and not trigger.starts_after("prefect.flow-run.Running")
    assert all(map(trigger.expects, ["prefect.flow-run.Running", HEARTBEAT, *ENDED]))


@pytest.mark.parametrize("event", [*events_of(StateType.RUNNING), HEARTBEAT, ASKED])
def test_a_run_that_runs_has_to_give_signs_of_life(event: str) -> None:
    trigger = EventTrigger.model_validate(named("silent").trigger.model_dump())
    assert trigger.starts_after(event) and not trigger.starts_after("prefect.flow-run.Scheduled")
    assert all(map(trigger.expects, [HEARTBEAT, *ENDED])) and not trigger.expects(ASKED)


def test_only_a_retraining_is_started_again() -> None:
    assert named("goes on").trigger.match_related.root["prefect.resource.id"] == "prefect.tag.retrain"


def test_a_retraining_is_started_again_unless_anything_else_has_happened_to_it() -> None:
    trigger = EventTrigger.model_validate(named("goes on").trigger.model_dump())
    assert trigger.starts_after("prefect.flow-run.Crashed") and not trigger.expects("prefect.flow-run.Crashed")
    states = [*events_of(StateType.PENDING), *events_of(StateType.RUNNING), *events_of(StateType.COMPLETED)]
    assert all(map(trigger.expects, [*states, "prefect.flow-run.AwaitingRetry", "prefect.flow-run.Cancelled"]))
