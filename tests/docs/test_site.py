"""The site builds with warnings as errors, and links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from docs.fences import PAGES, ROOT

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return target


def test_the_site_builds_without_a_warning(site: Path) -> None:
    for page in ("index.html", "reference/queues.html", "reference/cli.html", "operations/troubleshooting.html"):
        assert (site / page).exists()


def test_the_sdk_reference_shows_docstrings_and_signatures(site: Path) -> None:
    text = (site / "reference/sdk.html").read_text()
    assert "Store a task and return once NATS has it" in text
    assert "dedup_id" in text


def test_the_sdk_reference_leaves_out_what_only_the_sdk_calls(site: Path) -> None:
    text = (site / "reference/sdk.html").read_text()
    assert 'id="protoqueue.Queue.enqueue"' in text
    assert 'id="protoqueue.Queue.update"' not in text
    assert "QueueSettings" not in text


def test_a_reader_fetches_nothing_from_elsewhere(site: Path) -> None:
    """What the theme's script would fetch for itself, it fetches for pages with a repository or a mermaid diagram."""
    loads = re.compile(r'<(?:script|img|link|iframe|source|form)[^>]+(?:src|href|action)="((?:https?:)?//[^"]+)"')
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not loads.findall(text), page
        assert 'class="mermaid"' not in text, page
        assert "md-source" not in text, page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome on PATH")
def test_a_site_on_the_disk_is_searched(site: Path, tmp_path: Path) -> None:
    assert BROWSER
    page = f"{(site / 'reference/cli.html').as_uri()}?q=deduplicationWindow"
    options = ["--headless", "--no-sandbox", f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom"]
    shown = subprocess.run([BROWSER, *options, page], capture_output=True, text=True, timeout=280).stdout
    assert re.search(r'href="[^"]*reference/queues.html[^"]*#spec" class="md-search-result__link"', shown)


def test_no_generator_ends_up_on_the_site(site: Path) -> None:
    assert not (site / "sitegen").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_row_belongs_to_a_table(page: Path) -> None:
    tokens = MarkdownIt().enable("table").parse(page.read_text())
    assert not [token.content for token in tokens if token.type == "inline" and token.content.startswith("|")]


OUTSIDE = [page for page in PAGES if not page.is_relative_to(ROOT / "docs")]


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_pages_outside_of_the_site_lead_to_files(page: Path) -> None:
    missing = [
        target
        for token in MarkdownIt().parse(page.read_text())
        for child in token.children or ()
        if (target := str(child.attrGet("href") or child.attrGet("src") or ""))
        if not re.match(r"https?:|mailto:|#", target)
        if not (page.parent / target.partition("#")[0]).exists()
    ]
    assert not missing
