"""What `protoqueue why` makes of what it sees: cause and next step of each thing that can hold a queue up."""

import re
import shlex
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from docs.reasons import reasons
from protoqueue.admin.inspection import BusyPartition
from protoqueue.admin.stats import GroupStats, QueueStats
from protoqueue.cli.app import build_app
from protoqueue.cli.why_screen import screen
from protoqueue.diagnosis.diagnose import diagnose
from protoqueue.diagnosis.facts import Facts, Finding, Group
from protoqueue.diagnosis.next_steps import known_reasons, next_step
from protoqueue.diagnosis.resources import Condition, Pod, Resource
from protoqueue.protocol.config import RateLimit
from protoqueue.protocol.worker_status import WorkerStatus
from protoqueue.task import Task

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
READY = {"Ready": Condition("True", "Reconciled", "")}
ROOT = Path(__file__).parents[4]


def stats(waiting: int = 0, in_flight: int = 0, dead: int = 0, paused: bool = False) -> QueueStats:
    return QueueStats(waiting, in_flight, 0, dead, timedelta(seconds=9), {}, {}, paused)


def facts(*groups: Group, **more: Any) -> Facts:
    return Facts("shop/email", NOW, more.pop("stats", stats()), groups, **more)


def not_ready(reason: str, message: str, **more: Any) -> Resource:
    return Resource({"Ready": Condition("False", reason, message)}, **more)


def scaled(reason: str, message: str, **more: Any) -> Resource:
    return Resource({**READY, "Scaling": Condition("True", reason, message)}, **more)


def group(waiting: int = 0, in_flight: int = 0, *workers: WorkerStatus, **more: Any) -> Group:
    return Group("mailers", GroupStats(waiting, in_flight), workers, **more)


def worker(running: int = 0, **more: Any) -> WorkerStatus:
    return WorkerStatus("mailers-1", running, 10, **more)


def letters(count: int, reason: str, error: str, task_type: str = "charge") -> dict[str, Any]:
    error_type, _, text = error.partition(": ")
    return {
        "count": count, "reason": reason, "type": task_type, "error_type": error_type, "error": text, "example": "01jx",
    }  # fmt: skip


def busy(seconds: float, number: int = 3) -> BusyPartition:
    task = Task(id="01jy", data=b"1", type="charge")
    return BusyPartition("mailers", number, 120, NOW - timedelta(seconds=seconds), task)


BUSY = Pod("mailers-1", is_ready=True)
AWAY = "nats://nats:4222: could not connect within 5 s (Connection refused)"
CRASHED = Pod("mailers-1", False, 7, "worker", "mailers:1", "CrashLoopBackOff", "back-off", 1, "Error")

CASES = {
    "NATS away": (
        facts(stats=None, nats_problem=AWAY),
        "NatsAway",
        ["Connection refused"],
        ["PROTOQUEUE_NATS_URL", "kubectl get pods -A -l app.kubernetes.io/component=nats"],
    ),
    "NATS away for the operator too": (
        facts(stats=None, nats_problem=AWAY, resource=not_ready("NatsUnavailable", "no connection to nats")),
        "NatsAway",
        ["the operator says: no connection to nats"],
        [],
    ),
    "NATS away for the operator alone": (
        facts(group(), resource=not_ready("NatsUnavailable", "Authorization Violation")),
        "NatsUnavailable",
        ["the queue email is not Ready", "Authorization Violation"],
        ["-l app.kubernetes.io/name=protoqueue,app.kubernetes.io/component=operator", "xargs -rL1 kubectl logs"],
    ),
    "bad Secret": (
        facts(stats=None, resource=not_ready("SecretInvalid", "Secret account has no key url", secret="account")),
        "SecretInvalid",
        ["Secret account has no key url"],
        ["kubectl patch secret account -n shop"],
    ),
    "missing Secret": (
        facts(stats=None, resource=not_ready("SecretNotFound", "Secret account not found", secret="account")),
        "SecretNotFound",
        [],
        ["kubectl create secret generic account -n shop"],
    ),
    "bad spec": (
        facts(stats=None, resource=not_ready("InvalidSpec", "spec.rateLimit.per: must be at least 1ms, not 0s")),
        "InvalidSpec",
        ["spec.rateLimit.per: must be at least 1ms"],
        ["kubectl edit queue email -n shop"],
    ),
    "bad spec of a group": (
        facts(group(0, 0, worker(), resource=not_ready("InvalidSpec", "spec.priorityWeights: 2 weights"), pods=[BUSY])),
        "InvalidSpec",
        ["the consumergroup mailers is not Ready", "spec.priorityWeights"],
        ["kubectl edit consumergroup mailers -n shop"],
    ),
    "crash-looping workers": (
        facts(group(5, resource=not_ready("WorkersFailing", "0 of 1 available", desired=1), pods=[CRASHED])),
        "CrashLooping",
        ["0 of 1 worker of mailers is available", "container worker exited with code 1, 7 restarts"],
        ["protoqueue logs shop/email --group mailers --previous"],
    ),
    "workers out of memory": (
        facts(group(5, resource=Resource(READY, desired=1), pods=[replace(CRASHED, ended_because="OOMKilled")])),
        "CrashLooping",
        ["ran out of memory"],
        ["raise resources.limits.memory"],
    ),
    "wrong image": (
        facts(
            group(
                5,
                resource=not_ready("WorkersFailing", "0 of 1 available", desired=1),
                pods=[Pod("mailers-1", container="worker", image="mailers:typo", waits_for="ImagePullBackOff")],
            )
        ),
        "WrongImage",
        ["the image mailers:typo cannot be used, ImagePullBackOff"],
        ["correct the image in spec.worker.template", "kubectl edit consumergroup mailers -n shop"],
    ),
    "no room for workers": (
        facts(group(5, resource=Resource(READY, desired=1), pods=[Pod("m", unschedulable="0/3 nodes: cpu")])),
        "Unschedulable",
        ["0/3 nodes: cpu"],
        ["resources.requests"],
    ),
    "poison task": (
        facts(group(), stats=stats(dead=1), letters=[letters(1, "Crashed", "workers died 5 times", "render")]),
        "PoisonTask",
        ["1 task of type render killed the workers that ran it"],
        ["protoqueue dead show shop/email 01jx", "protoqueue dead redrive shop/email --reason Crashed"],
    ),
    "a handler that fails": (
        facts(group(), stats=stats(dead=12), letters=[letters(9, "MaxAttempts", "ValueError: no card"),
                                                      letters(3, "Rejected", "")]),
        "DeadLetters",
        ["12 dead letters, 9 of them of type charge because of MaxAttempts: ValueError: no card"],
        ["protoqueue dead show shop/email 01jx", "protoqueue dead redrive shop/email --reason MaxAttempts"],
    ),
    "at maxReplicas": (
        facts(group(346, 3, worker(3), resource=scaled(
            "AtMaximum", "346 waiting would need 18 workers; maxReplicas is 3", desired=3, maximum=3))),
        "AtMaximum",
        ["mailers is at maxReplicas (3): 346 waiting would need 18 workers"],
        ["kubectl edit consumergroup mailers -n shop"],
    ),
    "at maxReplicas, of an earlier operator": (
        facts(group(5, 3, worker(3), resource=Resource(READY, desired=3, maximum=3)), arrivals_per_s=9.0),
        "AtMaximum",
        ["mailers is at maxReplicas (3)"],
        ["raise spec.autoscale.maxReplicas"],
    ),
    "growing as fast as it may": (
        facts(group(900, 3, worker(3), resource=scaled(
            "ScaleUpLimited", "900 tasks outstanding, which asks for 9 workers: 4 workers per 1m (scaleUpLimit)",
            desired=4, maximum=10))),
        "ScaleUpLimited",
        ["mailers may not grow faster: 900 tasks outstanding, which asks for 9 workers: 4 workers per 1m"],
        ["raise spec.autoscale.scaleUpLimit", "kubectl edit consumergroup mailers -n shop"],
    ),
    "too little to start for": (
        facts(group(5, resource=scaled(
            "BelowActivation", "5 tasks outstanding: activationTasks is 20", desired=0, maximum=10))),
        "BelowActivation",
        ["mailers is started once there is more to do: 5 tasks outstanding: activationTasks is 20"],
        ["lower spec.autoscale.activationTasks", "kubectl edit consumergroup mailers -n shop"],
    ),
    "in flight at most": (
        facts(group(5, 3, worker(3), resource=scaled("InFlightLimited", "maxInFlight lets 3 tasks run", desired=1))),
        "InFlightLimited",
        ["maxInFlight lets 3 tasks run"],
        ["raise spec.maxInFlight"],
    ),
    "paused": (
        facts(group(5), stats=stats(5), resource=Resource(READY, paused=True)),
        "Paused",
        ["the queue is paused"],
        ["protoqueue resume shop/email"],
    ),
    "paused, seen in NATS alone": (
        facts(group(5), stats=stats(5, paused=True)), "Paused", ["the queue is paused"], ["resume shop/email"],
    ),
    "a paused group": (
        facts(Group("mailers", GroupStats(5, paused=True))),
        "Paused",
        ["the group mailers is paused"],
        ["protoqueue resume shop/email --group mailers"],
    ),
    "rate limited": (
        facts(group(600, 1, worker(1, rate_limited=True)), rate_limit=RateLimit(10, 60.0, 10, "Queue")),
        "RateLimited",
        ["the rate limit of the queue email, 10 per 1m, holds mailers back: 600 tasks wait, for 1h at this rate"],
        ["raise or remove spec.rateLimit", "kubectl edit queue email -n shop"],
    ),
    "rate limited by its group": (
        facts(group(6, 1, worker(1, rate_limited=True), rate_limit=RateLimit(5, 1.0, 5, "Group"))),
        "RateLimited",
        ["the rate limit of the consumergroup mailers, 5 per second"],
        ["kubectl edit consumergroup mailers -n shop"],
    ),
    "closed by Throttle": (
        facts(Group("mailers", GroupStats(5, throttled_until=NOW + timedelta(seconds=65), throttle_reason="429"))),
        "Throttled",
        ["a handler of mailers throttles it until 12:01:05 UTC (429)"],
        ["it ends by itself", "protoqueue resume shop/email --group mailers"],
    ),
    "all slots settling": (
        facts(group(5, 10, worker(10, trouble="10 outcomes cannot be stored, the first one for 40 s: no space left"))),
        "Unsettled",
        ["1 of 1 worker of mailers cannot go on: 10 outcomes cannot be stored", "no space left"],
        ["protoqueue logs shop/email --group mailers"],
    ),
    "a stuck ordered partition": (
        facts(group(120, 1, worker(0)), partitions=[busy(720)]),
        "StuckPartition",
        ["partition 3 of mailers has stood for 12m", "the task 01jy of type charge waits for its retry", "120 tasks"],
        ["protoqueue cancel shop/email 01jy", "protoqueue logs shop/email --group mailers"],
    ),
    "a slow ordered task": (
        facts(group(120, 1, worker(1)), partitions=[busy(90)]), "StuckPartition", ["still runs"], [],
    ),
    "a group without workers": (
        facts(group(5, resource=Resource(READY, has_workers=False))),
        "NoWorkers",
        ["5 tasks are waiting and no worker of mailers responds: spec.worker is not set"],
        ["set spec.worker.template", "protoqueue worker MODULE:WORKER --queue shop/email --group mailers"],
    ),
    "a group without workers, seen in NATS alone": (
        facts(group(5)), "NoWorkers", ["no worker of mailers responds"], ["start one: protoqueue worker"],
    ),
    "a group of size zero": (
        facts(group(5, resource=scaled("Disabled", "using spec.replicas", desired=0))),
        "NoWorkers",
        ["mailers is to have no workers: Disabled: using spec.replicas"],
        ["set spec.replicas or spec.autoscale"],
    ),
    "workers of another queue": (
        facts(group(5, resource=Resource(READY, desired=1), pods=[BUSY])),
        "WorkersSilent",
        ["of 1 available worker of mailers none responds"],
        ["protoqueue logs shop/email --group mailers"],
    ),
    "workers that start": (
        facts(group(5, resource=Resource(READY, desired=1, selector="app=m", target="deploy/m"), pods=[Pod("m-1")])),
        "NoWorkers",
        ["its pods are starting"],
        ["kubectl get pods -n shop"],
    ),
    "workers that start nothing": (
        facts(group(5, 0, worker())), "NothingStarts", ["start none of the waiting tasks (5)"], ["/readyz"],
    ),
    "no group": (
        facts(stats=stats(5)),
        "NoGroup",
        ["5 tasks wait and the queue has no consumer group"],
        ["spec.queueRef.name email in namespace shop"],
    ),
    "no operator": (
        facts(group(), resource=Resource()), "NotReconciled", ["has not reconciled it"], ["kubectl get pods"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_cause_and_next_step(case: str) -> None:
    seen, cause, what, todo = CASES[case]
    (finding,) = diagnose(seen)
    assert finding.cause == cause
    assert [text for text in what if text not in finding.what] == [], finding.what
    assert [text for text in todo if text not in finding.todo] == [], finding.todo


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [80, 40, None])
def test_it_is_on_one_screen_and_its_commands_can_be_copied(case: str, width: int | None) -> None:
    seen, cause, *_ = CASES[case]
    findings = diagnose(seen)
    lines = screen(seen, findings, width)
    assert len(lines) <= (24 if width == 80 else 60)
    assert any(line.startswith(f"{cause}: ") for line in lines)
    for finding in findings:
        for part in finding.todo.split("; "):
            assert f"  → {part}" in lines
    assert width is None or all(len(line) <= width or line.startswith("  → ") for line in lines)


@pytest.mark.parametrize(
    "seen",
    [
        facts(group(), resource=Resource(READY)),
        facts(group(100, 10, worker(10), resource=Resource(READY, desired=3, maximum=9)), completions_per_s=5.0),
        facts(
            group(100, 10, worker(10), resource=Resource(READY, desired=3, maximum=3)),
            arrivals_per_s=1.0,
            completions_per_s=5.0,
        ),
        facts(group(9, 1, worker(1)), partitions=[busy(30)]),
        facts(group(0, resource=Resource(READY, desired=0))),
        facts(group(5, 1, worker(1, rate_limited=True))),
    ],
)
def test_what_is_well_has_no_findings(seen: Facts) -> None:
    assert diagnose(seen) == []
    assert "No problems found." in screen(seen, [], 80)


def test_one_cause_is_one_finding() -> None:
    paused = facts(Group("mailers", GroupStats(5, paused=True)), stats=stats(5, paused=True))
    assert [found.cause for found in diagnose(paused)] == ["Paused"]
    secret = facts(
        group(resource=not_ready("QueueNotReady", "the Queue email is not ready")),
        stats=None,
        resource=not_ready("SecretInvalid", "no url"),
    )
    assert [found.cause for found in diagnose(secret)] == ["SecretInvalid"]


def test_what_stops_everything_comes_first() -> None:
    seen = facts(
        group(5, resource=not_ready("WorkersFailing", "", desired=1), pods=[CRASHED]),
        stats=stats(5, dead=2),
        letters=[letters(2, "MaxAttempts", "ValueError: x")],
    )
    assert [found.cause for found in diagnose(seen)] == ["CrashLooping", "DeadLetters"]


def test_every_reason_of_not_being_ready_has_a_next_step() -> None:
    text = (ROOT / "docs/operations/troubleshooting.md").read_text()
    ready = text[text.index("\n## Ready\n") : text.index("\n## Reconciling and Stalled")]
    told = set(re.findall(r"^### (\w+)$", ready, re.MULTILINE)) - {"Reconciled", "Paused"}
    assert told <= known_reasons()
    assert known_reasons() <= reasons(ROOT / "operator/src/protoqueue_operator")
    for reason in known_reasons():
        step = next_step(reason, kind="queue", name="email", queue="shop/email", secret="account")
        assert re.search(r"{\w+}|{{|}} ", step) is None
        assert step


def test_a_resource_is_read_whatever_is_missing() -> None:
    assert Resource.read({"kind": "Queue"}).conditions == {}
    body = {
        "kind": "ConsumerGroup",
        "metadata": {"name": "mailers"},
        "spec": {
            "paused": True,
            "autoscale": {"maxReplicas": 5},
            "worker": {"scaleTargetRef": {"kind": "StatefulSet", "name": "legacy"}},
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "Reconciled", "message": ""}],
            "replicas": 1,
            "desiredReplicas": 2,
            "selector": "app=legacy",
        },
    }
    read = Resource.read(body)
    assert (read.conditions, read.paused, read.desired, read.available, read.maximum) == (READY, True, 2, 1, 5)
    assert (read.has_workers, read.selector, read.target) == (True, "app=legacy", "statefulset/legacy")


def test_letters_that_should_be_elsewhere_are_told_of() -> None:
    seen = facts(group(), stats=stats(dead=1), letters=[letters(1, "Rejected", "")], dead_letter_queue="shop/dlq")
    last = diagnose(seen)[-1]
    assert (last.cause, "protoqueue dead forward shop/email --all" in last.todo) == ("NotForwarded", True)


def test_every_cause_is_in_troubleshooting() -> None:
    page = (ROOT / "docs/operations/troubleshooting.md").read_text()
    folder = ROOT / "worker-sdk/src/protoqueue/diagnosis"
    causes = {
        cause
        for name in ("diagnose.py", "workers.py")
        for cause in re.findall(r'Finding\(\s*"(\w+)"', (folder / name).read_text())
    }
    assert {cause for _, cause, *_ in CASES.values()} - known_reasons() <= causes | {"Unsettled"}
    assert {cause for cause in causes if f"`{cause}`" not in page} == set()


ENDS_WITH_A_COMMAND = [finding for seen, *_ in CASES.values() for finding in diagnose(seen)]
STEPS = {step.command for finding in ENDS_WITH_A_COMMAND for step in finding.steps if step.command} | {
    step.command
    for reason in known_reasons()
    for step in Finding("", "", next_step(reason, kind="queue", name="email", queue="shop/email", secret="a")).steps
    if step.command
}


@pytest.mark.parametrize("finding", ENDS_WITH_A_COMMAND, ids=lambda finding: finding.cause)
def test_words_stand_before_a_command_and_never_behind_it(finding: Finding) -> None:
    """What is copied from the command to the end of the line can be run."""
    for step in finding.steps:
        assert re.search(r"\b(kubectl|protoqueue) [a-z]", re.sub("`[^`]*`", "", step.words)) is None, step
        unquoted = re.sub("'[^']*'", "", step.command)
        assert not re.search(r"[,:] |\.$| (says|shows|then|lets) ", unquoted), step


@pytest.mark.parametrize("command", sorted(each for each in STEPS if each.startswith("protoqueue ")))
def test_commands_of_ours_are_understood(command: str) -> None:
    tree: Any = typer.main.get_command(build_app())
    name, words = "protoqueue", shlex.split(command)[1:]
    while hasattr(tree, "resolve_command"):
        name, tree, words = tree.resolve_command(tree.context_class(tree), words)
    tree.make_context(name, words)


@pytest.mark.parametrize("command", sorted(each for each in STEPS if each.startswith("kubectl ")))
def test_commands_of_kubectl_have_flags_that_it_knows(command: str) -> None:
    words = shlex.split(command.partition(" | ")[0])
    verbs = words[1 : 4 if words[1] == "create" else 2]
    known = subprocess.run(["kubectl", *verbs, "--help"], capture_output=True, text=True, check=True).stdout
    known += subprocess.run(["kubectl", "options"], capture_output=True, text=True, check=True).stdout
    for flag in (word.partition("=")[0] for word in words[2:] if word.startswith("-")):
        assert re.search(rf"(^|[ ,]){flag}[ ,=:]", known, re.MULTILINE), flag


@pytest.mark.parametrize(
    ("waiting", "text"), [(1, "1 task is waiting and no worker"), (2, "2 tasks are waiting and no worker")]
)
def test_one_is_not_many(waiting: int, text: str) -> None:
    (finding,) = diagnose(facts(group(waiting)))
    assert finding.what.startswith(text)


def test_workers_are_counted_as_the_group_wants_them() -> None:
    """Pods that an earlier node has left behind are not workers."""
    left = facts(group(5, resource=not_ready("WorkersFailing", "", desired=1), pods=[CRASHED, CRASHED]))
    assert diagnose(left)[0].what.startswith("0 of 1 worker of mailers is available")


def test_an_edit_that_nobody_has_seen_is_told_instead_of_what_was_before() -> None:
    condition = {"type": "Ready", "status": "False", "reason": "InvalidSpec", "message": "x", "observedGeneration": 1}
    body = {"kind": "Queue", "metadata": {"name": "email", "generation": 2}, "status": {"conditions": [condition]}}
    (edited,) = diagnose(facts(group(), resource=Resource.read(body)))
    assert (edited.cause, "last edit of the queue email" in edited.what) == ("NotReconciled", True)
    body["metadata"]["generation"] = 1
    (seen,) = diagnose(facts(group(), resource=Resource.read(body)))
    assert seen.cause == "InvalidSpec"


@pytest.mark.parametrize(
    ("message", "cause", "todo"),
    [
        ("0 of 2 workers available; container app exited 3, 6 restarts", "CrashLooping", "--group mailers --previous"),
        ("0 of 2 workers available; container app ran out of memory, 1 restart", "CrashLooping", "limits.memory"),
        ("0 of 1 worker available; container app: ErrImagePull: not found", "WrongImage", "correct the image"),
        ("0 of 1 worker available; a pod cannot be scheduled: 0/3 nodes", "Unschedulable", "resources.requests"),
        ("0 of 1 worker available; its pods are starting", "WorkersFailing", "kubectl describe pods"),
    ],
)
def test_who_may_not_see_pods_names_the_same_cause(message: str, cause: str, todo: str) -> None:
    seen = facts(group(5, resource=not_ready("WorkersFailing", message, desired=2), knows_pods=False))
    finding = diagnose(seen)[0]
    assert (finding.cause, message in finding.what, todo in finding.todo) == (cause, True, True), finding


def test_what_could_not_be_counted_is_not_shown_as_none() -> None:
    away = facts(group(resource=Resource(READY, desired=2)), stats=None, nats_problem=AWAY)
    assert screen(away, diagnose(away), None)[-1].split()[:6] == ["mailers", "-", "-", "-", "-", "0/2"]


def test_a_cause_is_said_once() -> None:
    seen = facts(stats=None, resource=not_ready("SecretInvalid", "the Secret account has no key url"))
    line = next(line for line in screen(seen, diagnose(seen), None) if "account" in line)
    assert line == "SecretInvalid: the queue email is not Ready: the Secret account has no key url"


def test_while_nothing_is_delivered_what_would_hold_it_up_then_is_not_told() -> None:
    held = group(600, 1, worker(0, rate_limited=True))
    seen = facts(
        held, stats=stats(600, paused=True), rate_limit=RateLimit(10, 60.0, 10, "Queue"), partitions=[busy(720)]
    )
    assert [found.cause for found in diagnose(seen)] == ["Paused"]
