import pytest

from chart.rendering import provide_helm


@pytest.fixture(scope="session", autouse=True)
def real_helm() -> None:
    """Every test here needs it."""
    provide_helm()
