"""From the values of the modality to 0..1: lookup tables, windows, and the full range where a file has neither."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from gsco_pacs.domain.errors import BadObjectError

ByteOrder = Literal["<", ">"]

OUTLIERS = 0.5
"""Per cent of the pixels at either end that the full range leaves out."""


def lookup(values: NDArray[Any], item: Dataset, byte_order: ByteOrder) -> tuple[NDArray[Any], int]:
    """``values`` sent through a Modality or VOI LUT, and the largest value that such a LUT may give.

    PS3.3 C.11.1.1.1 and C.11.2.1.1: values before the first mapped one take the first entry, those after the last one the last.
    ``byte_order`` is that of the data set, "<" or ">".
    """
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    table = _table(item, count or 65536, byte_order)
    if first > 32767 and values.min(initial=0) < 0:
        first -= 65536
    index = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.int64)
    return table[index], (1 << bits) - 1


def _table(item: Dataset, count: int, byte_order: ByteOrder) -> NDArray[np.uint16]:
    data = item.LUTData
    if isinstance(data, bytes):
        cell = "u2" if len(data) >= 2 * count else "u1"
        table = np.frombuffer(data, np.dtype(cell).newbyteorder(byte_order))[:count].astype(np.uint16)
    else:
        table = np.atleast_1d(np.asarray(data, np.uint16))[:count]
    if len(table) < count:
        raise BadObjectError("A lookup table has fewer entries than its descriptor says.")
    return table


def window(values: NDArray[Any], center: float, width: float, function: str) -> NDArray[np.float32]:
    """``values`` in 0..1 through a window: LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values.astype(np.float32) - center) / width, -80, 80)
        return np.asarray(1 / (1 + np.exp(exponent)), np.float32)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise BadObjectError("VOI LUT Function is none of LINEAR, LINEAR_EXACT and SIGMOID.")
    if width == 0:
        return np.asarray(values > center, np.float32)
    return np.asarray(np.clip((values - center) / width + 0.5, 0, 1), np.float32)


def full_range(values: NDArray[Any], valid: NDArray[Any]) -> NDArray[np.float32]:
    """``values`` in 0..1, black and white at the OUTLIERS percentiles of ``valid``, or at its ends if these coincide."""
    low, high = np.percentile(valid, (OUTLIERS, 100 - OUTLIERS))
    return stretched(values, low, high) if low != high else stretched(values, valid.min(), valid.max())


def stretched(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """``values`` in 0..1, black at ``low`` and white at ``high``; all black if there is nothing between them."""
    width = float(high) - float(low)
    if width == 0:
        return np.zeros(values.shape, np.float32)
    return np.asarray(np.clip((values - float(low)) / width, 0, 1), np.float32)
