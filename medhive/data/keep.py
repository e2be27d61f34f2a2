"""Applying the filter of a site file to a batch of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medhive.data.faults import Faults, Required
from medhive.data.recode import Recode
from medhive.data.rowfilter import AnyOf, Compare, Filter, IsMissing, Literal_, Not, OneOf
from medhive.data.values import MISSING, as_text, distinct, read_numbers
from medhive.study import code

_SIGNS: Mapping[str, Callable[[pa.Array, float], pa.Array]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def keep(
    part: Filter,
    batch: pa.RecordBatch,
    recodes: Mapping[str, Recode],
    rows: NDArray[np.int64],
    faults: Faults,
) -> NDArray[np.bool_]:
    """Say which rows of a batch meet a filter.

    Parameters
    ----------
    part : Filter
    batch : RecordBatch
        Holds the filter's columns.
    recodes : mapping of str to Recode
        How each of these columns is read.
    rows : ndarray of int, shape (n_batch,)
        Numbers of the rows in the file.
    faults : Faults
        Gets the cells that cannot be compared.

    Returns
    -------
    ndarray of bool, shape (n_batch,)
    """

    def holds(part: Filter) -> pa.Array:
        if isinstance(part, Not):
            return pc.invert(holds(part.part))
        if isinstance(part, Compare | OneOf | IsMissing):
            cells, recode = batch.column(part.column), recodes[part.column]
            if isinstance(part, Compare) and part.sign in _SIGNS:
                numbers = read_numbers(cells, recode, Required(faults, part.column, rows))
                # NaN is a missing value here, which is neither smaller nor greater
                known = pa.array(numbers, from_pandas=True)
                return _SIGNS[part.sign](known, float(part.value))
            return _by_word(part, cells, recode)
        join = pc.or_kleene if isinstance(part, AnyOf) else pc.and_kleene
        return reduce(join, [holds(each) for each in part.parts])

    mask: NDArray[np.bool_] = holds(part).fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def _by_word(part: Compare | OneOf | IsMissing, cells: pa.Array, recode: Recode) -> pa.Array:
    """Decide for each distinct word once."""
    words, indices = distinct(pc.utf8_trim_whitespace(as_text(cells)))
    answers: list[bool | None] = []
    for word in words:
        given = None if word is None or code(word) in recode.missing else word
        if isinstance(part, IsMissing):
            answers.append(given is None or given in MISSING)
            continue
        values = part.values if isinstance(part, OneOf) else (part.value,)
        if given is None or (given in MISSING and given not in values):
            answers.append(None)
            continue
        found = any(_same(given, value, recode.decimal) for value in values)
        answers.append(found != (isinstance(part, Compare) and part.sign == "!="))
    return pa.array(answers, pa.bool_()).take(pa.array(indices))


def _same(word: str, value: Literal_, decimal: str) -> bool:
    if isinstance(value, str):
        return code(word) == code(value)
    try:
        return float(word.replace(decimal, ".")) == value
    except ValueError:
        return False
