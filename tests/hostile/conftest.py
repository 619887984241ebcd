"""Those who misbehave: tenants, producers and workers on a real nats-server, and peers that are none."""

import os

import pytest


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on what the shell has set."""
    for name in [name for name in os.environ if name.startswith(("PROTOQUEUE_", "NATS_URL"))]:
        monkeypatch.delenv(name)
