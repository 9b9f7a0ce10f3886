import numpy as np
import pytest

from distax.viz.report.table import Column, _cell


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), np.float64(1.5)])
def test_a_cell_holds_a_plain_number_to_sort_by(value):
    assert _cell(value, Column("x", ".2f")) == '<td data-value="1.5">1.50</td>'
