"""mkdocs calls this: it adds the generated pages and fills in what pages ask for with `{{ generated: … }}`."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parents[1]))

from protoqueue import errors
from protoqueue_operator.api.v1alpha1.crd import crds
from sitegen.alerts import alerts_section
from sitegen.commands import commands_page
from sitegen.http_api import http_page
from sitegen.metrics import metric_table, operator_registry, series, worker_registry
from sitegen.resources import resource_page
from sitegen.rights import rights

ROOT = Path(__file__).parents[2]
_ASKED = re.compile(r"^\{\{ generated: (?P<what>[a-z-]+) \}\}$", re.MULTILINE)


def pages() -> dict[str, str]:
    """Generated pages by their path in the site."""
    resources = {f"reference/{plural}.md": resource_page(definition) for plural, definition in crds().items()}
    return {**resources, "reference/cli.md": commands_page(), "reference/http.md": http_page()}


def _proto(name: str) -> Callable[[], str]:
    text = (ROOT / "proto/protoqueue/v1" / name).read_text()
    return lambda: f"```protobuf\n{text}```"


def _error_tree() -> str:
    return f"```text\n{(errors.__doc__ or '').strip()}\n```"


def _rights() -> str:
    return rights((ROOT / "charts/protoqueue/templates/rbac/_rules.tpl").read_text())


def _alerts() -> str:
    template = (ROOT / "charts/protoqueue/templates/monitoring/prometheusrule.yaml").read_text()
    return alerts_section(template, series(worker_registry(), operator_registry()))


PARTS: dict[str, Callable[[], str]] = {
    "alerts": _alerts,
    "error-tree": _error_tree,
    "operator-rights": _rights,
    "worker-metrics": lambda: metric_table(worker_registry()),
    "operator-metrics": lambda: metric_table(operator_registry()),
    "task-proto": _proto("task.proto"),
    "config-proto": _proto("config.proto"),
    "samples-proto": _proto("samples.proto"),
}


def filled(markdown: str) -> str:
    """`markdown` with every part it asks for; raises KeyError for a part that does not exist."""
    return _ASKED.sub(lambda match: PARTS[match["what"]](), markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return filled(markdown)
