"""The operator's rights, from the chart's templates: what is under an `if` there is listed with its condition."""

import re
from collections.abc import Iterator

_DEFINE = re.compile(r'\{\{- define "protoqueue\.(?P<name>\w+)Rules" -\}\}(?P<body>.*?)\n\{\{- end -\}\}', re.DOTALL)
_RULE = re.compile(
    r"- apiGroups: \[(?P<groups>[^\]]*)\]\s+resources: \[(?P<resources>[^\]]*)\]\s+verbs: \[(?P<verbs>[^\]]*)\]"
)
_TITLES = {"namespace": "In a namespace it serves", "cluster": "Everywhere, where `namespaces` names some"}


def rights(template: str) -> str:
    """Markdown tables from the text of `templates/rbac/_rules.tpl`; raises ValueError where it holds no rule."""
    lines: list[str] = []
    for block in _DEFINE.finditer(template):
        lines += [f"**{_TITLES[block['name']]}:**", "", *_table(block["body"]), ""]
    if not lines:
        raise ValueError("the template defines no rules: has it been renamed?")
    return "\n".join(lines)


def _table(body: str) -> Iterator[str]:
    yield "| resources | of | verbs |"
    yield "| --- | --- | --- |"
    for rule in _RULE.finditer(body):
        if "{{" in rule["resources"]:
            yield f"| what `rbac.scaleTargets` names: scale | | {rule['verbs']} |"
        else:
            yield f"| {rule['resources']} | {rule['groups'].strip(chr(34)) or 'core'} | {rule['verbs']} |"
