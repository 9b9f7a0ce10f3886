import pytest

from distax.costs import find_peak


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v5p", 459e12),
        ("TPU v99", None),
        ("Tesla T4", 65e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A1000", None),
        ("NVIDIA L40S", 362e12),
        ("cpu", None),
    ],
)
def test_a_peak_is_that_of_the_most_exact_name(kind, peak):
    assert find_peak(kind) == peak
