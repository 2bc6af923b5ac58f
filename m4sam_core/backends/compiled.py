# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A network whose three graphs run in some engine; to the stream it is as good as `M4SAM`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m4sam_core.errors import InputError
from m4sam_core.model.m4sam import pseudo_prior
from m4sam_core.types import FrameFeatures, MemoryFeatures

Array = NDArray[np.float32]
RunGraph = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class CompiledNetwork:
    """Encode, recall and remember in an engine, on the CPU's memory, one stream at a time.

    Attributes:
        backend: the engine's name.
        input_size_px: side of the square that `encode` takes.
    """

    def __init__(
        self,
        backend: str,
        graphs: Mapping[str, RunGraph],
        input_size_px: int,
        sensory_dim: int,
        prior_norm: Literal["batch", "sample"],
    ) -> None:
        """Wrap loaded graphs.

        Args:
            backend: the engine's name.
            graphs: "encode", and for a network with memory "recall" and "remember"; each maps named arrays to named
                arrays that it never touches again.
            input_size_px: side of the square that the graphs were made for.
            sensory_dim: channels of the sensory state.
            prior_norm: see `MemoryConfig.prior_norm`.
        """
        self.backend = backend
        self.input_size_px = input_size_px
        self._graphs = graphs
        self._sensory_dim = sensory_dim
        self._prior_norm: Literal["batch", "sample"] = prior_norm

    def encode(self, rgb: Tensor, depth: Tensor, *, aux: bool = True) -> FrameFeatures:  # noqa: ARG002 - the Protocol's
        """See `M4SAM.encode`; without the outputs that only training looks at.

        Raises:
            InputError: images of another size than the graphs were made for.
        """
        side = self.input_size_px
        if rgb.shape != (1, 3, side, side) or depth.shape != (1, 1, side, side):
            raise InputError(
                f"encode: expected rgb (1, 3, {side}, {side}) and depth (1, 1, {side}, {side}), got {tuple(rgb.shape)} "
                f"and {tuple(depth.shape)}; resize them, or export the model for another batch"
            )
        out = self._run("encode", rgb=rgb, depth=depth)
        coarse = (out["coarse_logits"],)
        memory = None
        if "recall" in self._graphs:
            memory = MemoryFeatures(out["fused"], out["embed"], out["query"], out["key"], out["detail"])
        return FrameFeatures(coarse, (), coarse[0].new_zeros(()), memory)

    def prior(self, features: FrameFeatures) -> Tensor:
        """See `M4SAM.prior`."""
        return pseudo_prior(features.coarse_logits[-1], self._prior_norm)

    def initial_sensory(self, memory: MemoryFeatures) -> Tensor:
        """See `M4SAM.initial_sensory`."""
        n, _, height, width = memory.fused.shape
        return memory.fused.new_zeros(n, self._sensory_dim, height, width)

    def encode_value(
        self, memory: MemoryFeatures, mask_prob: Tensor, sensory: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        """See `M4SAM.encode_value`."""
        out = self._run("remember", fused=memory.fused, mask_prob=mask_prob, sensory=sensory)
        return out["value"], out["next_sensory"] if deep_update else sensory

    def recall(self, memory: MemoryFeatures, key: Tensor, value: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor]:
        """See `M4SAM.recall`."""
        out = self._run(
            "recall",
            embed=memory.embed,
            query=memory.query,
            detail=memory.detail,
            key=key,
            value=value,
            sensory=sensory,
        )
        return out["mask_logits"], out["next_sensory"]

    def _run(self, graph: str, **tensors: Tensor) -> dict[str, Tensor]:
        arrays = {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}
        return {name: torch.from_numpy(array) for name, array in self._graphs[graph](arrays).items()}
