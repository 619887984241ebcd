"""Every example is complete, and its manifests are good."""

import pytest
import yaml

from docs.resources import accept
from examples.loading import EXAMPLES, NAMES


@pytest.mark.parametrize("name", NAMES)
def test_manifests_are_accepted(name: str) -> None:
    documents = yaml.safe_load_all((EXAMPLES / name / "manifests.yaml").read_text())
    accept(documents)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_what_its_reader_needs(name: str) -> None:
    readme = (EXAMPLES / name / "README.md").read_text()
    assert f"make example NAME={name}" in readme
    assert (EXAMPLES / name / "workers.py").exists() or list((EXAMPLES / name).glob("consumer.*"))
