"""What the pages list by hand is what the code has: reasons, variables, metrics, fields."""

import re
from pathlib import Path
from typing import get_args

import pytest
from sitegen.alerts import alerts, alerts_section
from sitegen.commands import commands, commands_page
from sitegen.hook import PARTS, filled
from sitegen.resources import field_paths, resource_page
from sitegen.rights import rights

import protoqueue
from docs.fences import ROOT
from docs.reasons import reasons
from protoqueue.outcomes import Reason
from protoqueue.protocol.message_headers import Header
from protoqueue.settlement.outcome import Outcome
from protoqueue_operator.api.v1alpha1.crd import crds

DOCS = ROOT / "docs"
OPERATOR = ROOT / "operator/src/protoqueue_operator"
SDK = ROOT / "worker-sdk/src/protoqueue"


def test_every_reason_has_its_section_in_troubleshooting() -> None:
    titles = set(re.findall(r"^### (\w+)$", (DOCS / "operations/troubleshooting.md").read_text(), re.MULTILINE))
    assert titles == reasons(OPERATOR) | {reason.value for reason in Reason}


def test_reasons_are_found_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "class R:\n    reason = 'Class'\n"
        "class D:\n    replicas: int\n    reason: str\n"
        "def tell(self, what, reason): ...\n"
        "tell('x', 'Positional')\nD(1, 'Field')\nother(reason='Keyword')\nthing.tell(1, 'A' if 1 else 'B')\n"
        "y = {'reason': 'Key'}\n"
    )
    assert reasons(tmp_path) == {"Class", "Positional", "Field", "Keyword", "A", "B", "Key"}


def test_every_environment_variable_is_documented() -> None:
    page = (DOCS / "reference/environment.md").read_text()
    used = {name for path in (*SDK.rglob("*.py"), OPERATOR / "main.py") for name in variables(path.read_text())}
    assert variables(page) == used


def test_every_header_is_on_the_page_of_the_wire() -> None:
    page = (DOCS / "reference/wire.md").read_text()
    headers = [text for name, text in vars(Header).items() if name.isupper()]
    assert headers
    assert not [header for header in headers if f"`{header}`" not in page]


def test_every_outcome_that_a_metric_counts_is_named() -> None:
    (named,) = re.findall(r"^`outcome` is (.+)$", (DOCS / "operations/monitoring.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", named)) == {outcome.__name__ for outcome in get_args(Outcome)}


def variables(text: str) -> set[str]:
    return set(re.findall(r"\bPROTOQUEUE_[A-Z_]+[A-Z]\b", text))


@pytest.mark.parametrize("plural", crds())
def test_the_reference_of_a_resource_has_every_field(plural: str) -> None:
    definition = crds()[plural]
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    page = resource_page(definition)
    for part in ("spec", "status"):
        for path in field_paths(schema[part], part):
            section, _, field = path.rpartition(".")
            assert f"`{field}`" in section_of(page, section), path


def section_of(page: str, title: str) -> str:
    parts = re.split(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


@pytest.mark.parametrize("plural", crds())
def test_links_within_the_reference_of_a_resource_lead_to_its_sections(plural: str) -> None:
    page = resource_page(crds()[plural])
    anchors = {re.sub(r"[^\w-]", "", title.lower()) for title in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


def test_the_reference_of_the_command_line_has_every_command() -> None:
    page = commands_page()
    assert {"protoqueue worker", "protoqueue up", "protoqueue dead redrive"} <= commands().keys()
    for words in commands():
        assert f"## {words}\n" in page


def test_every_public_name_of_the_sdk_is_in_its_reference() -> None:
    page = filled((DOCS / "reference/sdk.md").read_text())
    missing = [name for name in protoqueue.__all__ if not re.search(rf"\b{name}\b", page)]
    assert not missing


def test_the_operators_rights_are_read_from_the_chart() -> None:
    table = rights((ROOT / "charts/protoqueue/templates/rbac/_rules.tpl").read_text())
    assert "| queues, consumergroups, redrives | protoqueue.dev |" in table
    assert "{{" not in table


def test_every_alert_has_a_section_and_says_when_it_cannot_fire() -> None:
    template = (ROOT / "charts/protoqueue/templates/monitoring/prometheusrule.yaml").read_text()
    found = alerts(template)
    assert len(found) == template.count("- alert: ")
    text = alerts_section(template, exported=set().union(*(alert.metrics for alert in found[1:])))
    for alert in found:
        assert f"### {alert.name} {{ #{alert.name} }}" in text
    assert "cannot fire" in alerts_section(template, exported=set())
    assert "$" not in text
    assert "}}" not in text


@pytest.mark.parametrize("part", PARTS)
def test_a_generated_part_can_be_made(part: str) -> None:
    assert filled(f"{{{{ generated: {part} }}}}\n") != f"{{{{ generated: {part} }}}}\n"


def test_every_page_asks_only_for_parts_that_exist() -> None:
    for page in DOCS.rglob("*.md"):
        assert "{{ generated" not in filled(page.read_text()), page


def test_every_test_that_a_guarantee_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "semantics.md").read_text()))
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert named <= set(re.findall(r"def (test_\w+)\(", text))
