import pytest
from hypothesis import settings

from cluster.rights import RightsProof

# The same examples everywhere, without a deadline; `--hypothesis-profile default` draws others.
settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RightsProof(), RightsProof.__name__)
