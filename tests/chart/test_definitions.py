import yaml

from chart.rendering import CHART, ROOT, Object, render


def definitions(objects: list[Object]) -> list[Object]:
    return [each for each in objects if each["kind"] == "CustomResourceDefinition"]


def test_the_chart_carries_the_definitions_of_today() -> None:
    ours = {path.name: path.read_text() for path in (CHART / "files" / "crds").iterdir()}
    assert ours == {path.name: path.read_text() for path in (ROOT / "crds").iterdir()}, "run `make crds`"


def test_they_are_installed_as_they_are_generated() -> None:
    generated = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").iterdir()]
    rendered = definitions(render({}))
    assert len(rendered) == len(generated)
    for each in generated:
        assert each["spec"] in [other["spec"] for other in rendered]


def test_uninstalling_keeps_them_unless_told_otherwise() -> None:
    for each in definitions(render({})):
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for each in definitions(render({"crds": {"keep": False}})):
        assert "helm.sh/resource-policy" not in each["metadata"].get("annotations", {})


def test_somebody_else_may_install_them() -> None:
    assert not definitions(render({"crds": {"install": False}}))
