"""The runbook of the chart's alerts, from the template that defines them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ALERT = re.compile(
    r"- alert: (?P<name>\w+)\n\s+expr: \|-\n\s+(?P<expression>.+?)\n\s+for: (?P<wait>.+?)\n"
    r".*?summary: >-\n\s+(?P<summary>.+?)\n\s+description: >-\n\s+(?P<description>.+?)\n",
    re.DOTALL,
)
_METRIC = re.compile(r"\bprotoqueue_[a-z_]+")
_HELM = re.compile(r"\{\{.*?\}\}")
_SUFFIX = re.compile(r"_(total|sum|count|bucket)$")


@dataclass(frozen=True)
class Alert:
    name: str
    expression: str
    summary: str
    description: str

    @property
    def metrics(self) -> set[str]:
        """The metrics it looks at, without the suffixes that Prometheus adds."""
        return {_SUFFIX.sub("", name) for name in _METRIC.findall(self.expression)}


def alerts(template: str) -> list[Alert]:
    """Every alert of `prometheusrule.yaml`; raises ValueError where there is none."""
    found = [
        Alert(match["name"], match["expression"].strip(), match["summary"].strip(), match["description"].strip())
        for match in _ALERT.finditer(template)
    ]
    if not found:
        raise ValueError("the template defines no alerts: has its form been changed?")
    return found


def exported_metrics(*sources: Path) -> set[str]:
    """The metrics that any module below `sources` names."""
    text = "\n".join(path.read_text() for source in sources for path in source.rglob("*.py"))
    return {_SUFFIX.sub("", name) for name in re.findall(r'"(protoqueue_[a-z_]+)"', text)}


def alerts_section(template: str, exported: set[str]) -> str:
    """One section for each alert, in Markdown; its anchor is the alert's name, as `metrics.rules.runbookUrl` needs."""
    return "\n".join(line for alert in alerts(template) for line in _section(alert, exported))


def _section(alert: Alert, exported: set[str]) -> Iterator[str]:
    yield f"### {alert.name} {{ #{alert.name} }}"
    yield ""
    yield f"{_readable(alert.summary)} {_readable(alert.description)}"
    yield ""
    if missing := sorted(alert.metrics - exported):
        names = ", ".join(f"`{name}`" for name in missing)
        yield f"**It cannot fire yet:** nothing exports {names} in this version."
        yield ""


def _readable(text: str) -> str:
    """The text without what Helm and Prometheus fill in."""
    return " ".join(_HELM.sub("…", text).split())
