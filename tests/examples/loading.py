"""Modules of the examples under names of their own: each example has a `workers.py`."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/scenario.py"))


@contextmanager
def example_module(example: str, module: str) -> Iterator[ModuleType]:
    """Import `examples/<example>/<module>.py` and what it imports from there; forgotten again at the end."""
    folder = EXAMPLES / example
    own = {path.stem for path in (*folder.glob("*.py"), *EXAMPLES.glob("*.py"))}
    places = [str(folder), str(EXAMPLES)]
    sys.path[:0] = places
    try:
        yield importlib.import_module(module)
    finally:
        for place in places:
            sys.path.remove(place)
        for name in own:
            sys.modules.pop(name, None)
