import subprocess
import sys

import pytest

from chart.rendering import HELM, ROOT


@pytest.fixture(scope="session", autouse=True)
def real_helm() -> None:
    """Every test here needs helm; a virtual environment that has none yet gets it once."""
    if not HELM.exists():
        subprocess.run([sys.executable, str(ROOT / "hack" / "unpack_helm.py")], check=True, timeout=300)
