# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""SAM2.1's Hiera with adapters (docs/model.md#encoder).

The weights live in the `sam2` package's own modules; the forward pass is ours, so that linear layers see real tokens
only (windows are padded after them: a padding token's q, k, v are the bias plus the adapter's update, nothing else)
and both modalities share one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from m4sam_core.model.adapters import BottleneckAdapter, LowRankAdapter
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
    height, width = x.shape[1:3]
    window = block.window_size

    qkv = pointwise(x, attention.qkv.weight, attention.qkv.bias)
    if window:
        qkv = _partition(qkv, window, attention.qkv.bias)
    loss = x.new_zeros(())
    if adapter is not None:
        (update_q, update_v), loss = adapter(x, modalities, lambda low: _partition(low, window) if window else low)
        qkv = qkv.contiguous()
        rows = qkv.view(-1, qkv.shape[-1])
        update_q.add_to(rows[:, : update_q.dim])
        update_v.add_to(rows[:, -update_v.dim :])

    q, k, v = qkv.chunk(3, dim=-1)
    if block.q_stride:
        q = _pool(q, block.pool)
        height, width, window = height // 2, width // 2, window // 2
    pooled = q.shape[1:3]
    q, k, v = (part.flatten(1, 2).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    out = out.reshape(-1, *pooled, block.dim_out)
    return (_unpartition(out, window, height, width) if window else out), loss


def _pool(x: Tensor, pool: nn.Module) -> Tensor:
    return pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _partition(x: Tensor, window: int, padding: Tensor | None = None) -> Tensor:
    """Lay x (M, H, W, C) out as (M * windows, window, window, C), padded at the bottom and right.

    `padding` (C,) is the value of padded positions, zero when absent.
    """
    n, height, width, channels = x.shape
    rows, columns = -(-height // window), -(-width // window)
    if height == rows * window and width == columns * window:
        x = x.reshape(n, rows, window, columns, window, channels).transpose(2, 3)
        return x.reshape(-1, window, window, channels)
    # Written window by window: one pass over the memory instead of pad, copy and add.
    fill = x.new_zeros(channels) if padding is None else padding.to(x.dtype)
    out = x.new_empty(n, rows, columns, window, window, channels)
    for row in range(rows):
        for column in range(columns):
            part = x[:, row * window : (row + 1) * window, column * window : (column + 1) * window]
            tall, wide = part.shape[1:3]
            target = out[:, row, column]
            target[:, :tall, :wide] = part
            target[:, tall:] = fill
            target[:, :tall, wide:] = fill
    return out.view(-1, window, window, channels)


def _unpartition(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Inverse of `_partition`: drop the padding, give back (M, height, width, C)."""
    rows, columns = -(-height // window), -(-width // window)
    x = windows.reshape(-1, rows, columns, window, window, windows.shape[-1])
    x = x.transpose(2, 3).reshape(x.shape[0], rows * window, columns * window, -1)
    return x[:, :height, :width]
