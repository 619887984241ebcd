import pytest

from protoqueue_operator.api.v1alpha1.fields import parse_quantity


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10Gi", 10 << 30),
        ("512Ki", 512 << 10),
        ("1G", 10**9),
        ("1.5k", 1500),
        ("1E", 10**18),
        ("2Ei", 2 << 60),
        ("1e3", 1000),
        ("1.5E9", 1_500_000_000),
        ("77", 77),
        (77, 77),
    ],
)
def test_a_size_is_read_as_kubernetes_reads_it(text: str | int, size: int) -> None:
    assert parse_quantity(text) == size


@pytest.mark.parametrize("text", ["10GB", "1 Gi", "-1", "", "Gi", "1ki", "1e", "1e-3", "1e999", "100m"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="10Gi"):
        parse_quantity(text)
