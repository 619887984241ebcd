"""The runbook of the chart's alerts, from the template that defines them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ALERT = re.compile(
    r"- alert: (?P<name>\w+)\n\s+expr: \|-\n\s+(?P<expression>.+?)\n\s+for: (?P<wait>.+?)\n"
    r".*?summary: >-\n\s+(?P<summary>.+?)\n\s+description: >-\n\s+(?P<description>.+?)\n",
    re.DOTALL,
)
_METRIC = re.compile(r"\bprotoqueue_[a-z_]+")
_PROMETHEUS = re.compile(r'\{\{"\{\{"\}\} (?P<what>.*?) \{\{"\}\}"\}\}')
_HELM = re.compile(r"\{\{.*?\}\}")


@dataclass(frozen=True)
class Alert:
    name: str
    expression: str
    summary: str
    description: str

    @property
    def metrics(self) -> set[str]:
        """The series it looks at."""
        return set(_METRIC.findall(self.expression))


def alerts(template: str) -> list[Alert]:
    """Every alert of `prometheusrule.yaml`; raises ValueError where there is none."""
    found = [
        Alert(match["name"], match["expression"].strip(), match["summary"].strip(), match["description"].strip())
        for match in _ALERT.finditer(template)
    ]
    if not found:
        raise ValueError("the template defines no alerts: has its form been changed?")
    return found


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
    """The text with the names of labels in place of their values, and dots for what Helm and Prometheus fill in."""
    return " ".join(_HELM.sub("…", _PROMETHEUS.sub(_name_of, text)).split())


def _name_of(match: re.Match[str]) -> str:
    _, is_label, name = match["what"].partition("$labels.")
    return name.upper() if is_label else "…"
