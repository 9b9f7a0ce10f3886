import numpy as np
import pytest

from distax import DistaxError
from distax.benchmarking import check_parity, check_torch, parity
from distax.benchmarking.networks import Network
from distax.benchmarking.torch_process import TorchProcess

SMALL = Network(batch=2, stages=1, channels=4)


def test_both_precisions_agree_with_the_cpu():
    found = check_parity(SMALL)
    assert found["float32"] == 0  # the default device is the CPU
    assert 1e-5 < found["bfloat16"] < 5e-2  # a number in bfloat16 has eight bits


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1.1), ("bfloat16", 1.2)])
@pytest.mark.parametrize("bad", [False, True])
def test_a_device_that_computes_otherwise_is_refused(monkeypatch, dtype, factor, bad):
    good = np.ones((2, 3, 3))
    calls = []

    def answer(network, device):
        calls.append(network.precision)
        expected = len(calls) == 1
        if expected or network.precision != dtype:
            return good
        return good * (np.nan if bad else factor)

    monkeypatch.setattr(parity, "_answer", answer)
    with pytest.raises(DistaxError, match=f"DISTA-Net in {dtype} on .* differs from the CPU by"):
        check_parity(SMALL)
    assert calls[0] == "float32"


class Torch(TorchProcess):
    def __init__(self, deviation):
        self.found = deviation

    def deviation(self, network):
        return self.found


def test_pytorch_that_computes_otherwise_is_refused():
    assert check_torch(Torch(2e-6)) == {"PyTorch": 2e-6}
    with pytest.raises(DistaxError, match=r"PyTorch differs from distax by 1\.0e-02"):
        check_torch(Torch(1e-2))
