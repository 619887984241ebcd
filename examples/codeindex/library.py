"""What there is to index: the source files of the running Python's standard library."""

import sysconfig
from pathlib import Path


def standard_library() -> list[tuple[str, Path]]:
    """Every module file, as (path within the library, absolute path)."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = (path for path in sorted(root.rglob("*.py")) if not {"site-packages", "dist-packages"} & set(path.parts))
    return [(path.relative_to(root).as_posix(), path) for path in files]


def priority_of(name: str) -> int:
    """Top-level modules first, packages next, tests last."""
    directories = name.split("/")[:-1]
    if not directories:
        return 9
    return 1 if {"test", "tests", "idle_test"} & set(directories) else 5
