"""The vector of sums: the one kind of thing that leaves a site."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medhive.rows import Array

Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of the fields of a vector of sums, in order."""


def size(layout: Layout) -> int:
    """Return the number of sums that a layout holds."""
    return sum(math.prod(shape) for _, shape in layout)


@dataclass(frozen=True, eq=False)
class Sums:
    """Named sums over rows, kept as one flat vector.

    Two vectors of the same layout add up; nothing else can be done with them on the way, so
    masking, noise, the ledger and the wire need no knowledge of any algorithm.

    Parameters
    ----------
    layout : tuple of (str, tuple of int)
        Field names and shapes.
    vector : ndarray, shape (size(layout),)
        The fields one after the other, each in C order.
    """

    layout: Layout
    vector: Array

    def __post_init__(self) -> None:
        if self.vector.shape != (size(self.layout),):
            raise ValueError(f"{self.vector.shape} does not fit a layout of {size(self.layout)}")

    @classmethod
    def of(cls, fields: Mapping[str, ArrayLike]) -> Sums:
        """Pack named fields, scalars or arrays, in their order."""
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in fields.items()}
        layout = tuple((name, array.shape) for name, array in arrays.items())
        return cls(layout, np.concatenate([array.ravel() for array in arrays.values()]))

    def __getitem__(self, name: str) -> Array:
        """Return one field in its own shape."""
        start = 0
        for field, shape in self.layout:
            stop = start + math.prod(shape)
            if field == name:
                return self.vector[start:stop].reshape(shape)
            start = stop
        raise KeyError(name)

    def number(self, name: str) -> float:
        """Return a scalar field."""
        return float(self[name])

    def __add__(self, other: Sums) -> Sums:
        if self.layout != other.layout:
            raise ValueError("sums of different layouts do not add")
        return Sums(self.layout, self.vector + other.vector)


def total(parts: Iterable[Sums]) -> Sums:
    """Add the sums of all sites; the order of the sites does not change a bit of the result.

    Each element is the correctly rounded sum of its parts (`math.fsum`), so a federation gives
    the same total whoever answers first.

    Raises
    ------
    ValueError
        If there is no part, or the layouts differ.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("a total needs at least one part")
    layout = parts[0].layout
    if any(part.layout != layout for part in parts):
        raise ValueError("sums of different layouts do not add")
    columns = zip(*(part.vector.tolist() for part in parts), strict=True)
    return Sums(layout, np.fromiter(map(math.fsum, columns), np.float64, size(layout)))
