import collections
import os
import sys
import zipfile

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


@pytest.mark.parametrize("name", ["phi.npy", "phi.mat"])
def test_a_complex_matrix_is_refused(name, tmp_path):
    matrix = np.full((2, 3), 1 + 2j)
    np.save(tmp_path / "phi.npy", matrix)
    savemat(tmp_path / "phi.mat", {"phi": matrix})
    message = rf"{name}: holds complex128, not numbers; save it as numbers"
    with pytest.raises(DistaxError, match=message):
        grokcso.read_matrix(tmp_path / name)


def zeros(path, members):
    """Writes an NPZ file of zeros, given by the number of bytes of each array."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, size in members.items():
            file.writestr(f"{name}.npy", bytes(size))


@pytest.mark.parametrize("members", [{"a": 2**25}, {"a": 2**23, "b": 2**23, "c": 2**23}])
def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_not_unpacked(
    members, tmp_path, monkeypatch
):
    zeros(tmp_path / "a.npz", members)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    size = f"{sum(members.values()):,} bytes, {members['a']:,} of them in one array"
    with pytest.raises(DistaxError, match=rf"a\.npz: unpacks to {size}, more than any model's"):
        grokcso.read_arrays(tmp_path / "a.npz")


def test_an_array_larger_than_any_models_is_not_read(tmp_path, monkeypatch):
    """The rest of the file, a hole on disk, would be enough bytes to unpack the array from."""
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        file.truncate(2**22)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**27 + 1))
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    with pytest.raises(DistaxError, match=r"134,217,729 of them in one array, more than any"):
        grokcso.read_arrays(path)


def test_zeros_among_weights_are_read(tmp_path):
    """Biases and the moving means of a new model are zeros, also in packed archives."""
    np.savez_compressed(tmp_path / "a.npz", bias=np.zeros(10**6, np.float32))
    assert not grokcso.read_arrays(tmp_path / "a.npz")["bias"].any()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.npy", "a"])
def test_arrays_of_one_name_are_refused(arrays, second, tmp_path):
    np.savez(tmp_path / "a.npz", a=arrays["b"])
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr(second, file.read("a.npy"))
    with pytest.raises(DistaxError, match=r"a\.npz: holds two arrays 'a'; save each array once"):
        grokcso.read_arrays(tmp_path / "a.npz")
