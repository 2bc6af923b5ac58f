# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""SAM2.1's Hiera with adapters (docs/model.md#encoder).

The weights live in the `sam2` package's own modules; the forward pass is ours, so that linear layers and attention see
real tokens only (see `_Padding`) and both modalities share one pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from m4sam_core.model.adapters import BottleneckAdapter, LowRankAdapter, LowRankUpdate
from m4sam_core.model.experts import RoutedBatchNorm2d
from m4sam_core.model.layers import pointwise
from m4sam_core.model.trunk import BOTH, Trunk, freeze
from m4sam_core.types import Modality

HIERA_SIZES: dict[str, dict[str, Any]] = {
    "nano": {
        "embed_dim": 16,
        "stages": (1, 1, 2, 1),
        "global_att_blocks": (3,),
        "window_pos_embed_bkg_spatial_size": (7, 7),
        "window_spec": (8, 4, 6, 3),
    },
    "tiny": {
        "embed_dim": 96,
        "stages": (1, 2, 7, 2),
        "global_att_blocks": (5, 7, 9),
        "window_pos_embed_bkg_spatial_size": (7, 7),
    },
    "small": {
        "embed_dim": 96,
        "stages": (1, 2, 11, 2),
        "global_att_blocks": (7, 10, 13),
        "window_pos_embed_bkg_spatial_size": (7, 7),
    },
    "base_plus": {"embed_dim": 112, "num_heads": 2},
    "large": {
        "embed_dim": 144,
        "num_heads": 2,
        "stages": (2, 6, 36, 4),
        "global_att_blocks": (23, 33, 43),
        "window_pos_embed_bkg_spatial_size": (7, 7),
        "window_spec": (8, 4, 16, 8),
    },
}


class HieraTrunk(Trunk):
    """Frozen Hiera with one adapter per block.

    Args:
        hiera: `sam2.modeling.backbones.hieradet.Hiera`.
        qv_adapters: one per block, or none.
        bottlenecks: one per block, applied before it, or none.
    """

    def __init__(
        self,
        hiera: Any,
        qv_adapters: Sequence[LowRankAdapter] = (),
        bottlenecks: Sequence[BottleneckAdapter] = (),
    ) -> None:
        super().__init__()
        self.hiera: Any = hiera  # sam2 carries no types
        freeze(hiera)
        self.qv_adapters = nn.ModuleList(qv_adapters)
        self.bottlenecks = nn.ModuleList(bottlenecks)
        first, second, third, fourth = (hiera.blocks[i].dim_out for i in hiera.stage_ends)
        self.dims = (first, second, third, fourth)

    def encode(self, x: Tensor, modalities: Sequence[Modality] = BOTH) -> tuple[list[Tensor], Tensor]:
        """See `Trunk.encode`."""
        x = self.hiera.patch_embed(x)
        x = x + self.hiera._get_pos_embed(x.shape[1:3])
        loss = x.new_zeros((), dtype=torch.float32)
        levels = []
        for index, block in enumerate(self.hiera.blocks):
            if self.bottlenecks:
                x = self.bottlenecks[index](x, modalities)
            adapter = self.qv_adapters[index] if self.qv_adapters else None
            if self.recompute and self.training and torch.is_grad_enabled():
                twice = partial(checkpoint, use_reentrant=False, context_fn=partial(_contexts, adapter))
                x, block_loss = twice(_run_block, block, x, adapter, modalities)
            else:
                x, block_loss = _run_block(block, x, adapter, modalities)
            loss = loss + block_loss
            if index in self.hiera.stage_ends:
                levels.append(x.permute(0, 3, 1, 2))
        return levels, loss

    def fold(self) -> None:
        """Fold the experts of every adapter."""
        for adapter in self.qv_adapters:
            cast("LowRankAdapter", adapter).fold()


def _contexts(adapter: nn.Module | None) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds a block's first run and its second one, which must leave running statistics alone."""
    return nullcontext(), _statistics_untouched(adapter)


@contextmanager
def _statistics_untouched(adapter: nn.Module | None) -> Iterator[None]:
    norms = [m for m in adapter.modules() if isinstance(m, RoutedBatchNorm2d)] if adapter is not None else []
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _run_block(
    block: Any, x: Tensor, adapter: nn.Module | None, modalities: Sequence[Modality]
) -> tuple[Tensor, Tensor]:
    """One multi-scale block on x (S*N, H, W, C) -> (S*N, H', W', C')."""
    shortcut = x
    x = block.norm1(x)
    if block.dim != block.dim_out:
        shortcut = _pool(pointwise(x, block.proj.weight, block.proj.bias), block.pool)
    attended, loss = _attend(block, x, adapter, modalities)
    x = shortcut + pointwise(attended, block.attn.proj.weight, block.attn.proj.bias)
    first, second = block.mlp.layers
    hidden = block.mlp.act(pointwise(block.norm2(x), first.weight, first.bias))
    return x + pointwise(hidden, second.weight, second.bias), loss


def _attend(block: Any, x: Tensor, adapter: nn.Module | None, modalities: Sequence[Modality]) -> tuple[Tensor, Tensor]:
    """Windowed or global attention on x (M, H, W, C), before the output projection; q is pooled at stage changes."""
    attention = block.attn
    height, width = _sides(x)
    window = block.window_size or max(height, width)

    qkv = pointwise(x, attention.qkv.weight, attention.qkv.bias)
    update_v: LowRankUpdate | None = None
    loss = x.new_zeros(())
    if adapter is not None:
        whole = not block.window_size
        (update_q, update_v), loss = adapter(x, modalities, lambda low: low if whole else _partition(low, window))
        low = torch.cat([update_q.low, update_v.low], dim=-1)
        low = low if whole else _unpartition(low, window, height, width)
        rank_q, rank_v, channels = update_q.up.shape[1], update_v.up.shape[1], qkv.shape[-1]
        # q's update goes to the first channels, v's to the last ones; k has none.
        up = F.pad(update_q.up, (0, rank_v, 0, channels - update_q.dim))
        up = up + F.pad(update_v.up, (rank_q, 0, channels - update_v.dim, 0))
        qkv = qkv + pointwise(low.to(qkv.dtype), up.to(qkv.dtype))

    rows = []
    for top, down, tall in _spans(height, window):
        line = []
        for left, across, wide in _spans(width, window):
            tile = qkv[:, top : top + down * tall, left : left + across * wide]
            tile = tile.reshape(-1, down, tall, across, wide, qkv.shape[-1]).transpose(2, 3)
            padding = None
            if block.window_size and tall * wide < window * window:
                cells = slice(top // window, top // window + down), slice(left // window, left // window + across)
                padding = _padding(attention.qkv.bias, update_v, cells, (height, width), (window, tall, wide), x)
            line.append(_attend_windows(block, tile.flatten(0, 2), padding).unflatten(0, (-1, down, across)))
        rows.append([part.transpose(2, 3).flatten(3, 4).flatten(1, 2) for part in line])
    return torch.cat([line[0] if len(line) == 1 else torch.cat(line, dim=2) for line in rows], dim=1), loss


@dataclass
class _Padding:
    """What fills up windows that reach over the edge.

    Every padded token of a window has the same key, for k has no adapter: n of them are one key whose similarity is
    raised by log n, with the mean of their values. They ask nothing, so there is no query.

    Attributes:
        count: padded tokens of each window, n.
        key (C,): their key.
        value (windows, C): the mean of their values.
    """

    count: int
    key: Tensor
    value: Tensor


def _padding(
    bias: Tensor,
    update_v: LowRankUpdate | None,
    cells: tuple[slice, slice],
    size: tuple[int, int],
    shape: tuple[int, int, int],
    like: Tensor,
) -> _Padding:
    """The padding of some of the windows.

    Args:
        bias (3C,): of the layer that makes q, k and v: all that a padded token has, beside the adapter's update.
        update_v: the adapter's update of v, over whole windows.
        cells: the windows meant, as rows and columns of windows.
        size: height and width of the map.
        shape: side of a window, height and width of its real part.
        like (M, H, W, C): the attention's input.
    """
    window, tall, wide = shape
    count = window * window - tall * wide
    _, key, value = bias.to(like.dtype).chunk(3)
    down, across = (part.stop - part.start for part in cells)
    value = value.expand(like.shape[0] * down * across, -1)
    if update_v is not None:
        grid = [-(-side // window) for side in size]
        low = update_v.low.unflatten(0, (-1, *grid))[:, cells[0], cells[1]]
        padded = low.sum(dim=(3, 4)) - low[:, :, :, :tall, :wide].sum(dim=(3, 4))
        mean = (padded / count).flatten(0, 2).to(update_v.up.dtype) @ update_v.up.t()
        value = value + F.pad(mean, (value.shape[-1] - update_v.dim, 0)).to(value.dtype)
    return _Padding(count, key, value)


def _attend_windows(block: Any, qkv: Tensor, padding: _Padding | None) -> Tensor:
    """Attention within each of the windows qkv (N, h, w, 3C) -> (N, h', w', C)."""
    q, k, v = qkv.chunk(3, dim=-1)
    if block.q_stride:
        q = _pool(q, block.pool)
    size = _sides(q)
    q, k, v = (part.flatten(1, 2) for part in (q, k, v))
    mask = None
    if padding is not None:
        k = torch.cat([k, padding.key.expand(k.shape[0], 1, -1).to(k.dtype)], dim=1)
        v = torch.cat([v, padding.value[:, None].to(v.dtype)], dim=1)
        mask = F.pad(q.new_full((1, 1), math.log(padding.count)), (k.shape[1] - 1, 0))
    q, k, v = (part.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    return out.reshape(-1, *size, block.dim_out)


def _sides(x: Tensor) -> tuple[int, int]:
    """Height and width of x (N, h, w, C); plain numbers, also while a tracer looks on."""
    return int(x.shape[1]), int(x.shape[2])


def _spans(length: int, window: int) -> list[tuple[int, int, int]]:
    """How windows cover an axis: (start, number of windows, their real length), whole windows first."""
    whole, rest = divmod(length, window)
    spans = [(0, whole, window)] if whole else []
    return [*spans, (whole * window, 1, rest)] if rest else spans


def _pool(x: Tensor, pool: nn.Module) -> Tensor:
    return pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _partition(x: Tensor, window: int) -> Tensor:
    """Lay x (M, H, W, C) out as (M * windows, window, window, C), padded with zeros at the bottom and right."""
    height, width = _sides(x)
    rows, columns = -(-height // window), -(-width // window)
    x = F.pad(x, (0, 0, 0, columns * window - width, 0, rows * window - height))
    x = x.unflatten(1, (rows, window)).unflatten(3, (columns, window)).transpose(2, 3)
    return x.flatten(0, 2)


def _unpartition(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Inverse of `_partition`: drop the padding, give back (M, height, width, C)."""
    rows, columns = -(-height // window), -(-width // window)
    x = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]
