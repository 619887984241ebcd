"""The TypeScript client passes the common cases, and is a package that others can use."""

import json
import re

from clients.toolchains import TYPESCRIPT, build_typescript, run


def test_the_typescript_client_passes_every_case() -> None:
    folder = build_typescript()
    output = run("node", "--test", "--test-reporter=tap", "build/test/cases.test.js", folder=folder)
    assert re.search(r"^# fail 0$", output, re.MULTILINE), output
    assert re.search(r"^# pass [1-9]\d+$", output, re.MULTILINE), output


def test_the_package_holds_what_it_exports_and_needs_nothing_at_run_time() -> None:
    folder = build_typescript()
    (package,) = json.loads(run("npm", "pack", "--dry-run", "--ignore-scripts", "--json", folder=folder))
    files = {file["path"] for file in package["files"]}
    manifest = json.loads((TYPESCRIPT / "package.json").read_text())
    assert "dependencies" not in manifest
    assert {path.removeprefix("./") for path in manifest["exports"]["."].values()} <= files
    assert "README.md" in files
    assert not {name for name in files if name.startswith(("test", "build"))}


def test_the_lock_file_pins_by_hash_and_names_no_address() -> None:
    lock = json.loads((TYPESCRIPT / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all("integrity" in entry and "resolved" not in entry for entry in packages.values())
