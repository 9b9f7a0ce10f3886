import collections
import os
import sys

import numpy as np
import pytest
from scipy.io import savemat

from distax import DistaxError
from distax.interop import grokcso


class Attack:
    def __reduce__(self):
        return os.getcwd, ()


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def arrays():
    return {"a.weight": np.float32([[1, 2], [3, 4]]), "b": np.float32([5])}


def test_arrays_are_read_from_either_form(torch, arrays, tmp_path):
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    extra = {"num_batches_tracked": torch.tensor(3)}
    torch.save(collections.OrderedDict(state | extra), tmp_path / "bare.pth")
    torch.save({"meta": {"epoch": 3}, "state_dict": state}, tmp_path / "wrapped.pth")
    for name in ("bare.pth", "wrapped.pth"):
        found = grokcso.read_arrays(tmp_path / name)
        assert found.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(found[key], array)


def test_pickled_code_is_refused_with_its_name(torch, tmp_path):
    torch.save({"state_dict": {}, "message_hub": Attack()}, tmp_path / "code.pth")
    with pytest.raises(DistaxError, match=r"code\.pth: refused, .* pickled code \(\w+\.getcwd"):
        grokcso.read_arrays(tmp_path / "code.pth")


def test_a_truncated_checkpoint_is_named(torch, arrays, tmp_path):
    path = tmp_path / "whole.pth"
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    content = path.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 5):
        (tmp_path / "part.pth").write_bytes(content[:size])
        with pytest.raises(DistaxError, match=r"part\.pth: not a whole PyTorch checkpoint"):
            grokcso.read_arrays(tmp_path / "part.pth")


def test_a_file_without_arrays_is_named(torch, tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DistaxError, match=r"list\.pth: holds no arrays by name"):
        grokcso.read_arrays(tmp_path / "list.pth")


def test_without_pytorch_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DistaxError, match=r"run pip install 'distax\[torch\]', or save the arrays"):
        grokcso.read_arrays(tmp_path / "any.pth")


def test_matrices_are_read_from_numpy_and_matlab(tmp_path):
    matrix = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "phi.npy", matrix)
    savemat(tmp_path / "phi.mat", {"phi": matrix})
    for name in ("phi.npy", "phi.mat"):
        np.testing.assert_array_equal(grokcso.read_matrix(tmp_path / name), matrix)


@pytest.mark.parametrize("content", [{"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, {}])
def test_a_file_without_one_matrix_is_named(content, tmp_path):
    savemat(tmp_path / "two.mat", content)
    with pytest.raises(DistaxError, match=r"two\.mat: holds no single matrix"):
        grokcso.read_matrix(tmp_path / "two.mat")


@pytest.mark.parametrize("name", ["bad.npy", "bad.mat"])
def test_a_matrix_that_cannot_be_read_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"no matrix")
    with pytest.raises(DistaxError, match=rf"{name}: a truncated or damaged NPY"):
        grokcso.read_matrix(tmp_path / name)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (grokcso.read_matrix, "none.npy"),
        (grokcso.read_matrix, "none.mat"),
        (grokcso.read_arrays, "none.npz"),
    ],
)
def test_a_file_that_is_not_there_is_said_to_be_missing(read, name, tmp_path):
    with pytest.raises(DistaxError, match=rf"{name}: no such file"):
        read(tmp_path / name)
