# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""torch's antialiased `interpolate` as a sparse matrix for each axis of an image.

torch has a fast path for 8-bit colour only. Depth is reduced by these, block by block while its pixels are in the
processor's cache, so that what is computed from them on the way never becomes a whole image in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse

_BLOCK_PX = 1 << 18  # pixels worked on at a time: half a megabyte of 16-bit depth
_KEPT = 16  # matrices: two axes for each of several cameras


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Some rows of a resized image.

    Attributes:
        rows: rows of the image that they are made of.
        out: these rows.
        weights: sparse (out, rows) float32.
    """

    rows: slice
    out: slice
    weights: Any


@lru_cache(maxsize=_KEPT)
def antialiased(source: int, target: int) -> Any:
    """Sparse (target, source) float32: `interpolate(..., mode="bilinear", antialias=True)` along one axis.

    A triangle as wide as two pixels of the result, or of the source where the result is the finer one.

    Args:
        source: pixels of the image along that axis.
        target: pixels of the result.
    """
    scale, half, one = np.float32(source / target), np.float32(0.5), np.float32(1)
    reach = max(scale, one)
    centres = scale * (np.arange(target, dtype=np.float32) + half)
    first = np.maximum((centres - reach + half).astype(np.int64), 0)
    after = np.minimum((centres + reach + half).astype(np.int64), source)
    rows = np.repeat(np.arange(target), after - first)
    columns = np.concatenate([np.arange(begin, end) for begin, end in zip(first, after, strict=True)])
    away = np.abs((columns.astype(np.float32) - centres[rows] + half) * (one / reach))
    weights = np.maximum(one - away, np.float32(0))
    weights /= np.bincount(rows, weights, target).astype(np.float32)[rows]
    return sparse.csr_matrix((weights, (rows, columns)), (target, source))


@lru_cache(maxsize=_KEPT)
def row_blocks(source: int, target: int, width: int) -> tuple[RowBlock, ...]:
    """The rows of a resized image in blocks, each made of few rows of the image; weights as `antialiased`.

    Args:
        source: rows of the image.
        target: rows of the result.
        width: columns of the image; the more, the fewer rows a block has.
    """
    weights = antialiased(source, target)
    step = max(1, _BLOCK_PX * target // (width * source))
    blocks = []
    for begin in range(0, target, step):
        part = weights[begin : begin + step]
        rows = slice(int(part.indices.min()), int(part.indices.max()) + 1)
        blocks.append(RowBlock(rows, slice(begin, begin + part.shape[0]), part[:, rows]))
    return tuple(blocks)
