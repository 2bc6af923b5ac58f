# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The recipe of the packaged weights as one plain loop: what the trainer's settings must add up to.

`first_steps.json` holds the losses of the first 20 steps as the recipe's own loop gave them before `m4sam train` took
it over. `python -m tests.training.train.plain_loop` prints them as they are now.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig
from m4sam_core.stream.recurrence import unroll_clip
from m4sam_training.edge.data import ClipStore
from m4sam_training.train.config import LossConfig, OutlineWeightConfig
from m4sam_training.train.losses import clip_losses
from tests.training.rendered import write_discs

# cycle, its first step and its length; stages (steps, size, batch, frames) below: tests.training.rendered
CYCLES = ((0, 10), (10, 4), (14, 4), (18, 2))
STAGES = ((6, 32, 2, 2), (4, 64, 2, 3), (4, 32, 2, 2), (4, 32, 2, 3), (2, 32, 2, 2))


def plain_losses(clips: Path) -> list[float]:
    """Total loss of each of 20 steps on the clips of a folder; on one thread."""
    torch.manual_seed(0)
    cfg = ModelConfig.preset("edge")
    cfg = cfg.model_copy(update={"memory": cfg.memory.model_copy(update={"agreement": False})})  # it joins later
    model = build_model(cfg, "torch").to(memory_format=torch.channels_last).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), fused=True)
    store, losses = ClipStore(clips), []
    stages = [stage for stage in STAGES for _ in range(stage[0])]
    for step, (_, size_px, batch, frames) in enumerate(stages):
        rng = np.random.default_rng((0, step))
        torch.manual_seed(step)
        shown = store.batch(rng.integers(0, len(store.paths), batch), frames, size_px, rng)
        cycle, (begin, length) = max((n, c) for n, c in enumerate(CYCLES) if c[0] <= step)
        peak = 2e-3 * (0.5 if cycle else 1.0) * min(1.0, (step + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = peak * 0.5 * (1 + math.cos(math.pi * (step - begin) / length))
        model.mask_decoder.detail.requires_grad_(cycle >= 2)
        with torch.autocast("cpu", torch.bfloat16):
            output = unroll_clip(model, shown.rgb, shown.depth, deep_update="always")
        loss = LossConfig(final_input="logit", edge=OutlineWeightConfig(start=0.2))
        total = clip_losses(output, shown.mask, loss, epoch=0)["total"]
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        if torch.isfinite(norm):
            optimizer.step()
        losses.append(float(total.detach()))
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(plain_losses(write_discs(Path(folder) / "clips")), indent=1))
