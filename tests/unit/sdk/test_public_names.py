import ast
import importlib
import inspect
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import protoqueue
from protoqueue import errors


def test_all_is_sorted_complete_and_importable() -> None:
    assert protoqueue.__all__ == sorted(protoqueue.__all__)
    assert set(protoqueue.__all__) == {name for name in dir(protoqueue) if not name.startswith("__")} | {"__version__"}
    for name in protoqueue.__all__:
        assert getattr(protoqueue, name) is getattr(protoqueue, name)
    with pytest.raises(AttributeError, match="no attribute 'Wroker'"):
        protoqueue.Wroker  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_the_names_that_are_loaded_when_they_are_used() -> None:
    tree = ast.parse(Path(protoqueue.__file__).read_text())
    seen = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {(f"protoqueue.{module}", name) for module, names in protoqueue._HOMES.items() for name in names}
    assert seen == loaded


def test_the_version_is_that_of_the_distribution() -> None:
    assert protoqueue.__version__ == version("protoqueue")


def modules_after(code: str) -> set[str]:
    text = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=100)
    return set(json.loads(done.stdout))


def test_importing_the_sdk_loads_nothing_of_what_it_builds_on() -> None:
    heavy = {"nats", "pydantic", "google.protobuf", "prometheus_client", "aiohttp", "http.server", "asyncio", "typer"}
    assert not modules_after("import protoqueue") & heavy


def test_a_producer_loads_neither_metrics_nor_an_http_server_nor_websockets() -> None:
    loaded = modules_after("import protoqueue; protoqueue.connect; protoqueue.NewTask; protoqueue.QueueFull")
    assert "nats.aio.client" in loaded
    assert not loaded & {"prometheus_client", "http.server", "aiohttp", "protoqueue.worker"}


def test_websockets_are_there_when_an_address_asks_for_them() -> None:
    code = """
import protoqueue
from protoqueue.broker.reconnecting_client import ReconnectingClient
ReconnectingClient._parse_server_uri("wss://example.org")
import nats.aio.transport
assert nats.aio.transport.aiohttp is not None
"""
    assert "aiohttp" in modules_after(code)


def test_every_error_is_public_derives_from_one_base_and_is_in_the_tree_the_docstring_draws() -> None:
    found = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    for name, value in found.items():
        assert issubclass(value, protoqueue.ProtoQueueError)
        assert getattr(protoqueue, name) is value
        assert name in (errors.__doc__ or "")


def test_importing_the_sdk_has_no_side_effects_on_logging() -> None:
    import logging

    before = list(logging.getLogger().handlers)
    importlib.reload(protoqueue)
    assert logging.getLogger().handlers == before
