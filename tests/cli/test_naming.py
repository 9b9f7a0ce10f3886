import warnings

import pytest

from distax import DistaxWarning
from distax.cli.naming import name_image, naming_warnings


def test_a_line_that_names_the_file_is_kept(tmp_path):
    path = tmp_path / "a.npy"
    assert name_image(path, 3, "is flat") == f"{path}: image 3, is flat"
    for line in (f"{path}: is flat", f"m.npy: has 9 px, but image 3 of {path} has 8"):
        assert name_image(path, 3, line) == line


def warn(path):
    with naming_warnings(path, 2):
        warnings.warn("is flat", DistaxWarning, stacklevel=1)
        warnings.warn("is old", FutureWarning, stacklevel=1)


def test_distax_warnings_are_named_and_others_are_kept(tmp_path):
    with pytest.warns() as caught:
        warn(tmp_path)
    assert [(one.category, str(one.message)) for one in caught] == [
        (DistaxWarning, f"{tmp_path}: image 2, is flat"),
        (FutureWarning, "is old"),
    ]
    assert caught[1].filename == __file__


def fail(path):
    with naming_warnings(path, 0):
        warnings.warn("is flat", DistaxWarning, stacklevel=1)
        raise ZeroDivisionError


def test_warnings_before_an_error_are_kept(tmp_path):
    with pytest.warns(DistaxWarning, match="image 0, is flat"), pytest.raises(ZeroDivisionError):
        fail(tmp_path)
