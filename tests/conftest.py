import pytest

from cluster.rights import RightsProof


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RightsProof(), RightsProof.__name__)
