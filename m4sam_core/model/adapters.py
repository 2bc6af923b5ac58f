# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Adapters at their place: beside q and v of an attention layer, or before a block (docs/model.md#encoder)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m4sam_core.model.layers import equal_parts, pointwise
from m4sam_core.model.moe_lora import GROUPS, FoldedExperts, MoELoRA, fold_experts
from m4sam_core.types import Modality

Mode = Literal["release", "paper"]


@dataclass
class LowRankUpdate:
    """An update that was not multiplied out yet: `low` (..., r) times `up` (dim, r) transposed."""

    low: Tensor
    up: Tensor

    @property
    def dim(self) -> int:
        """Channels of the update."""
        return self.up.shape[0]


class LowRankAdapter(nn.Module):
    """Low-rank updates of one or more outputs of a linear layer, evaluated side by side.

    Args:
        outputs: name of each update -> its number of channels, e.g. {"q": 144, "v": 144}.
        dim_in: channels of the layer's input.
        shared: one set of weights for both modalities, or one each (LoRA).
        modalities: those it will see.
        groups: the expert groups of D(a); modality groups are used by their own modality alone, the others by both.
            Without any the adapter is plain LoRA.
        combine: how expert outputs are combined.
        rank, alpha, top_k, bn_momentum, gate_noise: see `MoELoRA`.
    """

    def __init__(
        self,
        outputs: dict[str, int],
        dim_in: int,
        *,
        shared: bool,
        modalities: Sequence[Modality],
        groups: Sequence[str],
        combine: Mode,
        rank: int,
        alpha: float,
        top_k: int,
        bn_momentum: float,
        gate_noise: float,
    ) -> None:
        super().__init__()
        self.combine: Mode = combine
        self.shared = shared
        self.modalities = tuple(modalities)
        self.experts = tuple(groups)
        self.foldable = "scaled" not in groups
        self.names = tuple(outputs)
        options: dict[str, Any] = {
            "rank": rank,
            "alpha": alpha,
            "top_k": top_k,
            "groups": self.experts,
            "bn_momentum": bn_momentum,
            "gate_noise": gate_noise,
        }
        self.sets = nn.ModuleDict(
            {
                key: nn.ModuleDict({name: MoELoRA(dim_in, dim, **options) for name, dim in outputs.items()})
                for key in (("shared",) if shared else tuple(modality.value for modality in modalities))
            }
        )
        self._folded: dict[Modality, FoldedExperts] = {}

    def forward(
        self, x: Tensor, modalities: Sequence[Modality], to_windows: Callable[[Tensor], Tensor]
    ) -> tuple[list[LowRankUpdate], Tensor]:
        """Updates for S equal parts of a batch.

        Args:
            x (S*N, H, W, dim_in): the adapted layer's input.
            modalities: the modality of each part.
            to_windows: lays a (M, H, W, c) map out as routing units (windows, h, w, c), parts outermost.

        Returns:
            one update per output for every (windows, h, w), and the scalar load-balancing loss.
        """
        if self.shared:
            return self._apply_set(self._set("shared"), x, modalities, to_windows)
        parts = [
            self._apply_set(self._set(modality.value), part, (modality,), to_windows)
            for part, modality in zip(equal_parts(x, len(modalities)), modalities, strict=True)
        ]
        updates = [_side_by_side(group) for group in zip(*(part[0] for part in parts), strict=True)]
        return updates, torch.stack([part[1] for part in parts]).sum()

    def _set(self, key: str) -> list[MoELoRA]:
        modules = cast("nn.ModuleDict", self.sets[key])
        return [cast("MoELoRA", modules[name]) for name in self.names]

    def _apply_set(
        self,
        adapters: list[MoELoRA],
        x: Tensor,
        modalities: Sequence[Modality],
        to_windows: Callable[[Tensor], Tensor],
    ) -> tuple[list[LowRankUpdate], Tensor]:
        low = pointwise(x, torch.cat([adapter.lora_a for adapter in adapters]))
        low = to_windows(low).permute(0, 3, 1, 2)
        mixed = [
            self._mix(adapters, part, m) for part, m in zip(equal_parts(low, len(modalities)), modalities, strict=True)
        ]
        update = torch.cat([part[0] for part in mixed]).permute(0, 2, 3, 1)
        loss = torch.stack([part[1] for part in mixed]).sum()
        ranks = [adapter.rank for adapter in adapters]
        pieces = zip(adapters, update.split(ranks, dim=-1), strict=True)
        return [LowRankUpdate(piece, adapter.lora_b) for adapter, piece in pieces], loss

    def _mix(self, adapters: list[MoELoRA], a: Tensor, modality: Modality) -> tuple[Tensor, Tensor]:
        """alpha/r * (a + D(a)) for a (windows, n*r, h, w)."""
        if not self.experts:
            return adapters[0].scale * a, a.new_zeros(())
        if not self.training and self.foldable:
            folded = self._folded.get(modality) or fold_experts(adapters, self._groups(modality))
            return folded.mix(a, len(adapters), adapters[0].top_k, self.combine)
        chunks = a.chunk(len(adapters), dim=1)
        groups = self._groups(modality)
        mixed = [adapter.mix(chunk, groups, self.combine) for adapter, chunk in zip(adapters, chunks, strict=True)]
        return torch.cat([part[0] for part in mixed], dim=1), torch.stack([part[1] for part in mixed]).sum()

    def _groups(self, modality: Modality) -> tuple[str, ...]:
        return GROUPS[modality] if "fusion" in self.experts else self.experts

    def fold(self) -> None:
        """Precompute the folded experts until the weights are touched again through the module's methods."""
        if not (self.experts and self.foldable):
            return
        with torch.no_grad():
            self._folded = {
                modality: fold_experts(self._set("shared" if self.shared else modality.value), self._groups(modality))
                for modality in self.modalities
            }

    def train(self, mode: bool = True) -> LowRankAdapter:
        """Switch mode; training forgets the folded experts."""
        if mode:
            self._folded = {}
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._folded = {}
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch's own hook

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._folded = {}
        super()._load_from_state_dict(*args, **kwargs)


def _side_by_side(parts: Sequence[LowRankUpdate]) -> LowRankUpdate:
    """One update for the concatenated parts of a batch, each part with its own `up`."""
    rank = parts[0].low.shape[-1]
    low = [F.pad(part.low, (index * rank, (len(parts) - 1 - index) * rank)) for index, part in enumerate(parts)]
    return LowRankUpdate(torch.cat(low), torch.cat([part.up for part in parts], dim=1))


class BottleneckAdapter(nn.Module):
    """x + gelu(up(gelu(down(x)))), one pair of linear layers per modality; weights from a normal cut at two deviations.

    Args:
        dim: channels.
        hidden: width of the bottleneck.
        modalities: those it will see.
    """

    def __init__(self, dim: int, hidden: int, modalities: Sequence[Modality]) -> None:
        super().__init__()
        self.down = nn.ModuleDict({m.value: nn.Linear(dim, hidden) for m in modalities})
        self.up = nn.ModuleDict({m.value: nn.Linear(hidden, dim) for m in modalities})
        for layer in (*self.down.values(), *self.up.values()):
            nn.init.trunc_normal_(cast("nn.Linear", layer).weight, std=0.02)
            nn.init.zeros_(cast("nn.Linear", layer).bias)

    def forward(self, x: Tensor, modalities: Sequence[Modality]) -> Tensor:
        """Adapt S equal parts of x (S*N, h, w, dim), each with its modality's weights."""
        parts = zip(equal_parts(x, len(modalities)), modalities, strict=True)
        return x + torch.cat([F.gelu(self.up[m.value](F.gelu(self.down[m.value](part)))) for part, m in parts])
