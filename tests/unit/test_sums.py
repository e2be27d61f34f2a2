import math

import numpy as np
import pytest

from medhive.sums import Sums, size, total


def test_fields_keep_their_shape_and_order() -> None:
    """A vector of sums gives every field back in its own shape."""
    sums = Sums.of({"n": 3, "x": [1.0, 2.0], "h": [[1, 2], [3, 4]]})
    assert sums.layout == (("n", ()), ("x", (2,)), ("h", (2, 2)))
    assert size(sums.layout) == 7
    assert sums.vector.tolist() == [3, 1, 2, 1, 2, 3, 4]
    assert sums.number("n") == 3.0
    assert sums["h"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(KeyError):
        sums["y"]


def test_a_vector_that_does_not_fit_its_layout_is_refused() -> None:
    """The layout and the vector have the same size."""
    with pytest.raises(ValueError, match="does not fit"):
        Sums((("n", ()),), np.zeros(2))


def test_different_layouts_do_not_add() -> None:
    """Neither the sum of two nor the total mixes layouts."""
    a, b = Sums.of({"n": 1}), Sums.of({"m": 1})
    with pytest.raises(ValueError, match="different layouts"):
        a + b
    with pytest.raises(ValueError, match="different layouts"):
        total([a, b])
    with pytest.raises(ValueError, match="at least one"):
        total([])


def test_a_total_is_correctly_rounded() -> None:
    """A total loses nothing to cancellation between sites."""
    parts = [Sums.of({"x": [value, 0.1]}) for value in (1e16, 1.0, -1e16)]
    assert total(parts)["x"].tolist() == [1.0, math.fsum([0.1] * 3)]
    assert (parts[0] + parts[2])["x"].tolist() == [0.0, 0.2]
