"""Collect what a Python program needs to run, and nothing else, into a directory that becomes an image `FROM scratch`.

Usage, with the interpreter of the program's virtual environment: /opt/venv/bin/python image_root.py DIRECTORY

Taken are the virtual environment, the interpreter and its standard library, every shared library these link to, and the
certificate authorities: no shell, no package manager, no compiler. What is loaded only by name at run time is not seen.
"""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

USER = 65532
UNUSED = {
    *("__pycache__", "site-packages", "dist-packages", "ensurepip", "venv", "pydoc_data"),
    *("test", "tests", "idlelib", "turtledemo", "tkinter", "lib2to3"),
}
"""Folders of the standard library that no server imports."""

UNUSED_FILES = re.compile(r"^(_test|_xxtest|_ctypes_test|_tkinter|turtle|config-).*|.*\.(a|whl|pyi)$")


def collect(root: Path) -> None:
    environment = Path(sys.prefix)
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    sources = [*tree(environment, {"__pycache__"}), *tree(stdlib, UNUSED)]
    programs = [Path(sys.executable), *(path for path in sources if re.search(r"\.so(\.|$)", path.name))]
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    for path in [*sources, *libraries(programs), *([certificates] if certificates.exists() else [])]:
        place(path, root)
    write_accounts(root)
    unchecked = PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(root, quiet=1, maxlevels=99, stripdir=root, prependdir="/", invalidation_mode=unchecked)


def tree(folder: Path, without: set[str]) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if each not in without and not UNUSED_FILES.match(each)]
        links = [each for each in folders if (Path(where) / each).is_symlink()]
        yield from (Path(where) / each for each in [*files, *links] if not UNUSED_FILES.match(each))


def libraries(programs: Iterable[Path]) -> Iterator[Path]:
    """The shared libraries that the dynamic linker loads for `programs`, and the linker itself."""
    found: set[str] = set()
    for program in programs:
        linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        found |= set(re.findall(r"(/\S+) \(0x", linked))
    return map(Path, sorted(found))


def place(path: Path, root: Path) -> None:
    """Copy `path` into `root` under its own name, with every symbolic link on the way there."""
    here = Path("/")
    for part in path.absolute().parts[1:]:
        here = here / part
        copy = root / here.relative_to("/")
        if here.is_symlink():
            target = here.parent / here.readlink()
            if not copy.is_symlink():
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.symlink_to(here.readlink())
            place(target, root)
            here = here.resolve()
        elif here.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif not copy.exists():
            shutil.copy2(here, copy)


def write_accounts(root: Path) -> None:
    """A user without rights, under the number the images run as, and a /tmp for those who mount none."""
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(f"protoqueue:x:{USER}:{USER}::/tmp:/sbin/nologin\n")
    (root / "etc/group").write_text(f"protoqueue:x:{USER}:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


if __name__ == "__main__":
    collect(Path(sys.argv[1]))
