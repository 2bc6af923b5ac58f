# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The network as three graphs of plain tensors, which any engine can run: encode, recall, remember.

What lasts between frames stays outside, so the graphs know nothing of streams: `stream.recurrence` drives them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from m4sam_core.model.inference import specialise
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.types import MemoryFeatures

ENTRIES = "entries"  # elements held by the memory: always free
BATCH = "batch"  # frames of different streams: free when asked for
_TRACED_BATCH = 2  # of an open batch; with one, operators that spread one frame over many could be taken for the rule


@dataclass(frozen=True)
class Graph:
    """One part of the network, ready to be traced.

    Attributes:
        module: takes the inputs in order and gives a tuple.
        inputs: name -> example.
        outputs: names.
        free_axes: input or output name -> {axis: name} of axes that may have any length.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    free_axes: Mapping[str, dict[int, str]]


def split(model: M4SAM, batch: int | None = 1) -> dict[str, Graph]:
    """The model's graphs, specialised for float32 inference; the model itself is left as it is.

    Args:
        model: on the CPU, in evaluation mode.
        batch: frames of different streams that are computed at once; None leaves it open.

    Returns:
        "encode", and for a network with memory "recall" and "remember".
    """
    if batch is None:
        return {name: _opened(graph) for name, graph in split(model, _TRACED_BATCH).items()}
    model = copy.deepcopy(model).cpu().eval()
    specialise(model, torch.float32)
    side = model.input_size_px
    with torch.inference_mode():
        rgb, depth = torch.rand(batch, 3, side, side), torch.rand(batch, 1, side, side)
        memory = model.encode(rgb, depth, aux=False).memory
        frames = {"rgb": rgb, "depth": depth}
        if memory is None:
            return {"encode": Graph(_Encode(model), frames, ("coarse_logits",), {})}
        sensory = model.initial_sensory(memory)
        value, _ = model.encode_value(memory, depth, sensory, deep_update=True)
    held = {"embed": memory.embed, "query": memory.query, "detail": memory.detail}
    if model.mask_decoder.detail is None:
        del held["detail"]
    outputs = ("coarse_logits", "fused", "embed", "query", "key", "detail")
    free = {"key": {1: ENTRIES}, "value": {1: ENTRIES}}
    return {
        "encode": Graph(_Encode(model), frames, outputs, {}),
        "recall": Graph(
            _Recall(model, tuple(held)),
            {**held, "key": memory.key, "value": value, "sensory": sensory},
            ("mask_logits", "next_sensory"),
            free,
        ),
        "remember": Graph(
            _Remember(model),
            {"fused": memory.fused, "mask_prob": depth, "sensory": sensory},
            ("value", "next_sensory"),
            {},
        ),
    }


def _opened(graph: Graph) -> Graph:
    """The same with the batch free in every input and output."""
    names = (*graph.inputs, *graph.outputs)
    return replace(graph, free_axes={name: {0: BATCH, **graph.free_axes.get(name, {})} for name in names})


class _Encode(nn.Module):
    def __init__(self, model: M4SAM) -> None:
        super().__init__()
        self.model = model

    def forward(self, rgb: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
        features = self.model.encode(rgb, depth, aux=False)
        memory = features.memory
        if memory is None:
            return features.coarse_logits
        return (*features.coarse_logits, memory.fused, memory.embed, memory.query, memory.key, memory.detail)


class _Recall(nn.Module):
    def __init__(self, model: M4SAM, held: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.held = held

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        held = dict(zip(self.held, inputs, strict=False))
        embed, query = held["embed"], held["query"]
        key, value, sensory = inputs[len(self.held) :]
        # Plain products: engines know them.
        affinity = (query @ key.transpose(1, 2)).softmax(dim=-1)
        readout = (affinity @ value).transpose(1, 2).unflatten(2, embed.shape[-2:])
        memory = MemoryFeatures(fused=embed, embed=embed, query=query, key=key, detail=held.get("detail", embed))
        return self.model.segment(memory, readout, sensory)


class _Remember(nn.Module):
    def __init__(self, model: M4SAM) -> None:
        super().__init__()
        self.model = model

    def forward(self, fused: Tensor, mask_prob: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor]:
        memory = MemoryFeatures(fused, fused, fused, fused, fused)  # the value path looks at X_F alone
        return self.model.encode_value(memory, mask_prob, sensory, deep_update=True)
