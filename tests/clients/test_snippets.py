"""What the pages and the ancestor's README show in TypeScript and Go is accepted by their compilers."""

import json
import shutil
from pathlib import Path

import pytest

from clients.toolchains import GO, TYPESCRIPT, build_typescript, locked, run
from docs.fences import Fence, all_fences, fences

pytestmark = pytest.mark.timeout(1000)  # the first time, all of Go's own packages are compiled

README = Path(__file__).parent / "readme"


def blocks(language: str, readme: Path) -> list[Fence]:
    return [*all_fences(language), *fences(readme, language)]


def test_typescript_on_the_pages_type_checks(tmp_path: Path) -> None:
    build_typescript()
    (package := TYPESCRIPT / "build" / "snippets").mkdir(exist_ok=True)
    with locked(package / ".lock"):
        for old in package.glob("*.ts"):
            old.unlink()
        found = blocks("typescript", TYPESCRIPT / "README.md")
        assert len(found) > 3
        for number, fence in enumerate(found):
            given = "declare function sendMail(to: string, options: { signal: AbortSignal }): Promise<void>;\n"
            (package / f"block{number}.ts").write_text(f"// {fence.place}\n{fence.text}{given}export {{}};\n")
        shutil.copy(README / "ancestor.ts", package)
        options = {"noEmit": True, "rootDir": "../..", "types": ["node"], "noUnusedLocals": False}
        config = {"extends": "../../tsconfig.json", "compilerOptions": options | {"noUnusedParameters": False}}
        (package / "tsconfig.json").write_text(json.dumps(config | {"include": ["."]}))
        run("npx", "--no-install", "tsc", "-p", "build/snippets", folder=TYPESCRIPT)


def test_go_on_the_pages_is_vetted(tmp_path: Path) -> None:
    module = f"module pages\n\ngo 1.23\n\nrequire protoqueue v0.0.0\n\nreplace protoqueue => {GO}\n"
    (tmp_path / "go.mod").write_text(module)
    programs = [fence.text for fence in all_fences("go") if fence.text.startswith("package main")]
    assert programs
    for number, text in enumerate([*programs, (README / "ancestor.go.txt").read_text()]):
        (folder := tmp_path / f"program{number}").mkdir()
        (folder / "main.go").write_text(text)
    run("go", "vet", "./...", folder=tmp_path)
