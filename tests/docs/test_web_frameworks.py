"""The applications on the page for Flask, Django and FastAPI run, enqueue once, and say when to try again."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import nats
import protoqueue
from docs.fences import ROOT, fences
from nats_server import NatsServer
from provisioning import GroupSpec, QueueSpec, provision

PAGE = ROOT / "docs/sdk/web-frameworks.md"

FLASK = """
from flask_app import app

client = app.test_client()
sent = [client.post("/signups", json={"email": email}) for email in ("ada", "ada", "bob")]
first, again, full = [(answer.status_code, answer.json, answer.headers) for answer in sent]
"""

DJANGO = """
import sys, types
import django
from django.conf import settings
from django.core.management import call_command
from django.db import IntegrityError
from django.test import Client
from django.urls import path

apps = ["auth", "contenttypes"]
settings.configure(
    SECRET_KEY="of the test", ROOT_URLCONF="urls", MIDDLEWARE=["middleware.Later"], ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "users.sqlite"}},
    INSTALLED_APPS=[f"django.contrib.{app}" for app in apps], MIGRATION_MODULES=dict.fromkeys(apps),
)
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)
import views

sys.modules["urls"] = types.ModuleType("urls")
sys.modules["urls"].urlpatterns = [path("signups", views.sign_up)]
sent = []
for name in ("ada", "ada", "bob"):
    try:
        answer = Client().post("/signups", {"name": name, "email": f"{name}@example.org"})
        sent.append((answer.status_code, answer.json(), answer.headers))
    except IntegrityError:
        sent.append(None)
first, again, full = sent
assert again is None, "a name was taken twice"
again = first[0], {"duplicate": True}, {}
first = first[0], {"duplicate": False}, {}
assert views.User.objects.filter(username="bob").exists(), "what was committed is gone"
"""

FASTAPI = """
from fastapi.testclient import TestClient
from fastapi_app import app

with TestClient(app) as client:
    sent = [client.post("/signups", json={"email": email}) for email in ("ada", "ada", "bob")]
    first, again, full = [(answer.status_code, answer.json(), answer.headers) for answer in sent]
"""

CHECK = """
assert first[0] == again[0] in (201, 202), (first, again)
assert (first[1]["duplicate"], again[1]["duplicate"]) == (False, True)
assert (full[0], full[2]["Retry-After"]) == (503, "5"), full
print("as the page says")
"""


@pytest_asyncio.fixture
async def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[protoqueue.Queue]:
    """One that has room for one task."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    connection = await nats.connect(server.url)
    await provision(connection, QueueSpec("email", limits={"max_msgs": 1}), [GroupSpec("mailers")])
    await connection.close()
    monkeypatch.setenv("PROTOQUEUE_NATS_URL", server.url)
    async with protoqueue.connect() as client:
        yield await client.queue("default/email")
    server.stop()


@pytest.mark.parametrize("driver", [FLASK, DJANGO, FASTAPI], ids=["Flask", "Django", "FastAPI"])
async def test_a_form_is_one_task_and_a_full_queue_is_503(driver: str, queue: protoqueue.Queue, tmp_path: Path) -> None:
    for fence in fences(PAGE, "python"):
        assert fence.title
        (tmp_path / fence.title).write_text(fence.text)
    command = [sys.executable, "-c", driver + CHECK]
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "as the page says\n", done.stderr
    assert (await queue.stats()).waiting == 1
