"""The OpenAPI document holds: generated requests, valid and not, get what it says."""

import asyncio
import sys
from pathlib import Path

import pytest

from gateway.api import Api
from gateway.test_gateway_messages import bounded_ready

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1200)  # thousands of requests: four minutes on two cores that seven others share
async def test_generated_requests_get_what_the_document_says(api: Api, admin_key: str) -> None:
    await bounded_ready(api)
    await api.queue("email")
    here = Path(__file__).parent
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(here / "schemathesis.toml"), "run",
        str(ROOT / "docs/reference/openapi.json"), "--url", api.url, "--header", f"Authorization: Bearer {admin_key}",
        "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "5", "--seed", "7",
        "--request-timeout", "60", "--generation-deterministic", "--suppress-health-check", "all", "--no-color",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-20_000:]


async def test_the_document_and_its_page_are_served(api: Api) -> None:
    document = (await api("GET", "/openapi.json")).body
    assert document["openapi"].startswith("3.1")
    page = (await api("GET", "/docs")).text
    assert "Enqueue a message" in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "<script" not in page
