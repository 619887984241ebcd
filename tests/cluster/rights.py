"""What the operator asks Kubernetes for in the cluster's tests, against what the chart's Roles let it ask for.

Each process of a run collects the requests of its own operators. The one that reports to the terminal judges them all
at the end: nothing may be denied, and where the whole suite ran and is green, no right may have gone unused.
"""

from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from chart.rbac import Permission, Request, denied, operator_requests, permissions, unused
from chart.rendering import provide_helm, render

SUITE = Path(__file__).parent
ACCOUNT, NAMESPACE = "pq-protoqueue", "queues"

NEVER_ASKED = {
    Permission("update", "protoqueue.dev", "consumergroups/finalizers"): "not a request: the admission plugin "
    "OwnerReferencesPermissionEnforcement wants it of whoever sets blockOwnerDeletion",
}


def granted() -> set[Permission]:
    """What the chart grants an operator of the whole cluster, and one of named namespaces outside of these."""
    named: dict[str, Any] = {"namespaces": ["any"], "rbac": {"connectionSecrets": True}}
    inside_and_outside = permissions(render(named, namespace=NAMESPACE), ACCOUNT, NAMESPACE)
    foreign = {"scaleTargets": [{"apiGroup": "example.com", "resource": "machines"}]}
    everywhere = permissions(
        render({"rbac": {**foreign, "connectionSecrets": True}}, namespace=NAMESPACE), ACCOUNT, NAMESPACE
    )
    return {*everywhere, *(each for each in inside_and_outside if not each.namespace)}


class RightsProof:
    """A plugin of pytest, in the process that reports and in those that run tests for it."""

    def __init__(self) -> None:
        self._requests: set[Request] = set()
        self._modules: set[str] = set()
        self._partial = False
        self._complaints: list[str] = []

    def add(self, log: Path) -> None:
        """Take in what an API server of the cluster's tests has logged."""
        for request in operator_requests(log.read_text().splitlines()):
            # The chart names one Lease to its operator; every Lease that a test names stands for that one.
            lease = {"namespace": NAMESPACE, "name": request.name and ACCOUNT} if request.resource == "leases" else {}
            self._requests.add(replace(request, **lease))

    def leave_out(self) -> None:
        """Say that requests were made which no log tells."""
        self._partial = True

    def pytest_deselected(self) -> None:
        self._partial = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._modules.add(report.nodeid.partition("::")[0])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A process of pytest-xdist has ended: take over what it found."""
        told = getattr(node, "workeroutput", {}).get("rights")
        if told is None:  # it crashed
            self._partial = True
            return
        self._requests |= {Request(*each) for each in told["requests"]}
        self._partial |= told["partial"]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["rights"] = {"requests": [astuple(each) for each in self._requests], "partial": self._partial}
            return
        self._partial |= bool(session.exitstatus) or any("::" in each for each in session.config.args)
        if self._requests:
            self._judge({path.name for path in SUITE.glob("test_*.py")})
        if self._complaints:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _judge(self, modules: set[str]) -> None:
        provide_helm()
        rights = granted()
        for request in sorted(denied(self._requests, rights), key=astuple):
            self._complaints.append(f"denied: {request}")
        ran = {Path(each).name for each in self._modules if Path(each).parent.name == SUITE.name}
        if modules <= ran and not self._partial:
            surplus = unused(self._requests, rights)
            self._complaints += [f"never used: {each}" for each in surplus - NEVER_ASKED.keys()]
            self._complaints += [f"used after all: {each}" for each in NEVER_ASKED.keys() - surplus]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._complaints:
            terminalreporter.section("the operator's requests and the chart's Roles", red=True)
            for complaint in self._complaints:
                terminalreporter.write_line(complaint, red=True)
