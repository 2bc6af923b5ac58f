# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One training step of the release preset against the published model's measured one (docs/model.md#parity).

Six minutes and 13 GB of memory on two cores. The step is made twice: in float32, as training does, and in float64,
which leaves the published float32 run's own rounding as the only difference. Measured, that one is up to 1.9e-3 off
ours in float64, and ours in float32 up to 4.0e-3 (block 8's first rgb expert), with the same experts chosen for all
39,552 windows. Any change in the order of sums moves these figures, so the required 5e-3 is asserted of the float32
step and 3e-3 of the float64 one, where rounding cannot hide a mistake.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.release import official_key
from m4sam_training.train.config import TrainConfig
from m4sam_training.train.distributed import World
from m4sam_training.train.step import StepReport, TrainStep
from tests.golden import kit

pytestmark = [pytest.mark.golden, pytest.mark.slow]
# Ours -> the fixture's names of the loss terms.
LOSSES = {
    "coarse1": "loss1",
    "coarse2": "loss2",
    "coarse3": "loss3",
    "edge1": "edge1",
    "edge2": "edge2",
    "edge3": "edge_out",
    "structure": "mem.structure",
    "focal": "mem.focal",
    "dice": "mem.dice",
    "mae": "mem.mae",
    "moe": "moe_loss",
    "total": "total",
}


def settings(recompute: bool = False) -> TrainConfig:
    return TrainConfig.parse(
        {
            "preset": "release",
            "model": {"adapter": {"gate_noise": 0.0}},
            "optim": {"deep_update": "always", "scale_lr_by_processes": False, "recompute": recompute},
            "run": {"device": "cpu", "tensorboard": False},
        }
    )


def make_step(dtype: torch.dtype) -> tuple[M4SAM, StepReport, dict[str, torch.Tensor]]:
    """The model after one step, what the step reports, and the weights before it."""
    cfg = settings(recompute=dtype == torch.float64)  # the same numbers in 10 GB
    model = build_model(cfg.model)
    kit.fill(model.state_dict(), official_key)
    model = model.to(dtype)
    before = {official_key(name): p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    step = TrainStep(model, cfg, World(rank=0, size=1, device=torch.device("cpu")))
    report = step.run([{key: value.to(dtype) for key, value in batch().items()}], epoch=0, step=0)
    torch.set_num_threads(threads)
    return model, report, before


def projected(model: M4SAM, fixture: Any) -> dict[str, np.ndarray]:
    grads = {official_key(name): p.grad for name, p in model.named_parameters() if p.grad is not None}
    names = [key.split("/")[1] for key in fixture.files if key.startswith("grad/") and key.endswith("/norm")]
    return {name: kit.project("grad:" + name, grads[name][None].numpy()) for name in names}


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Our float32 step: losses, gradients, statistics and new weights, under the published names."""
    fixture = np.load(kit.HERE / "train_b2t2.npz")
    model, report, before = make_step(torch.float32)
    grads = {official_key(name): p.grad for name, p in model.named_parameters() if p.grad is not None}
    after = {official_key(name): p.detach() for name, p in model.named_parameters() if p.requires_grad}
    grad_proj = projected(model, fixture)
    return {
        "fixture": fixture,
        "losses": {name: value.item() for name, value in report.losses.items()},
        "grad_norm": report.grad_norm.item(),
        "no_grad": {official_key(n) for n, p in model.named_parameters() if p.requires_grad and p.grad is None},
        "group_norms": group_norms(grads),
        "grad_proj": grad_proj,
        "delta_norm": {name: (after[name] - before[name]).double().norm().item() for name in grad_proj},
        "buffers": {official_key(name): b.clone() for name, b in model.named_buffers() if "hiera" not in name},
        "mask_prob": report.output.mask_prob.detach().flatten(0, 1)[:, 0, ::4, ::4].numpy(),
        "coarse": report.output.coarse_logits[-1].detach().flatten(0, 1)[:, 0, ::4, ::4].numpy(),
    }


def batch() -> dict[str, torch.Tensor]:
    inputs = np.load(kit.HERE / "b2t2.npz")
    rgb, depth, mask = (
        torch.from_numpy(inputs[f"in/{key}"].astype(np.float32) / 255) for key in ("rgb", "depth", "gt")
    )
    return {"rgb": rgb.permute(0, 1, 4, 2, 3).contiguous(), "depth": depth[:, :, None], "mask": mask[:, :, None]}


def group_norms(grads: dict[str, torch.Tensor]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, grad in grads.items():
        if name.startswith("encoder."):
            group = "encoder.moe_lora." + name.split(".lora_q." if ".lora_q." in name else ".lora_v.")[1].split(".")[0]
        elif name.startswith("mem_model.memory."):
            group = ".".join(name.split(".")[:3])
        elif name.startswith("mem_model."):
            group = ".".join(name.split(".")[:2])
        else:
            group = name.split(".")[0]
        sums[group] = sums.get(group, 0.0) + grad.double().square().sum().item()
    return {group: total**0.5 for group, total in sums.items()}


def test_every_loss_term_within_1e_5(measured):
    wrong = {}
    for ours, theirs in LOSSES.items():
        expected = float(measured["fixture"][f"loss/{theirs}"])
        error = abs(measured["losses"][ours] - expected) / abs(expected)
        print(f"loss {ours:10s} {measured['losses'][ours]:.7f} {expected:.7f} rel {error:.1e}")
        if error > 1e-5:
            wrong[ours] = error
    assert not wrong


def test_outputs_in_training_mode(measured):
    # The spec bounds evaluation only (5e-5); statistics of four frames make training a little more sensitive.
    for ours, theirs, largest in (("mask_prob", "mem_out", 1e-4), ("coarse", "out", 1e-3)):
        expected = measured["fixture"][theirs]
        error = np.abs(measured[ours] - expected)
        print(
            f"{ours}: largest difference {error.max():.1e}, relative mean {error.mean() / np.abs(expected).mean():.1e}"
        )
        assert error.max() < largest
        assert error.mean() / np.abs(expected).mean() < 1e-5


def test_batch_norm_statistics_within_1e_5(measured):
    fixture, wrong, compared = measured["fixture"], {}, 0
    for key in fixture.files:
        # up4 is in the published file and used by nothing, hence not in our model.
        if not key.startswith("bn/") or key.endswith("num_batches_tracked") or key.startswith("bn/up4."):
            continue
        expected, ours = fixture[key].astype(np.float64), measured["buffers"][key[3:]].double().numpy()
        error = np.abs(ours - expected).mean() / (np.abs(expected).mean() + 1e-12)
        compared += 1
        if error > 1e-5:
            wrong[key] = error
    print(f"{compared} statistics compared, worst wrong: {sorted(wrong.items(), key=lambda kv: -kv[1])[:5]}")
    assert compared > 300
    assert not wrong


def test_gradient_norms_within_1e_3(measured):
    fixture = measured["fixture"]
    wrong = {}
    for key in fixture.files:
        if not key.startswith("gradnorm/"):
            continue
        expected, group = float(fixture[key]), key.split("/")[1]
        ours = measured["grad_norm"] if group == "TOTAL" else measured["group_norms"][group]
        error = abs(ours - expected) / expected
        print(f"gradnorm {group:36s} {ours:.6f} {expected:.6f} rel {error:.1e}")
        if error > (1e-3 if group == "TOTAL" else 5e-3):
            wrong[group] = error
    assert not wrong


def test_the_very_experts_that_the_release_never_ran_get_no_gradient(measured):
    """535 in the release; 102 of them belong to nothing (each adapter's own bias, up4) and are not in our model."""
    theirs = {str(name) for name in measured["fixture"]["grad_none"]}
    live = {name for name in theirs if not re.search(r"\.lora_[qv]\.bias$|^up4\.", name)}
    assert (len(theirs), len(live)) == (535, 433)
    assert measured["no_grad"] == live


def projection_errors(ours: dict[str, np.ndarray], fixture: Any) -> dict[str, float]:
    errors = {}
    for name, values in ours.items():
        expected = fixture[f"grad/{name}/proj"].astype(np.float64)
        errors[name] = float(np.abs(values - expected).mean() / np.abs(expected).mean())
        print(f"grad {name:80s} rel {errors[name]:.1e}")
    return errors


def test_gradient_projections_in_float32_within_5e_3(measured):
    errors = projection_errors(measured["grad_proj"], measured["fixture"])
    assert max(errors.values()) < 5e-3


def test_adamw_step_by_delta_norm_within_1e_3(measured):
    wrong = {}
    for name, ours in measured["delta_norm"].items():
        expected = float(measured["fixture"][f"step/{name}/delta_norm"])
        error = abs(ours - expected) / expected
        print(f"step {name:80s} {ours:.3e} {expected:.3e} rel {error:.1e}")
        if error > 1e-3:
            wrong[name] = error
    assert not wrong


def test_gradient_projections_in_float64_within_3e_3():
    """Last: it needs the memory of the float32 step."""
    fixture = np.load(kit.HERE / "train_b2t2.npz")
    model, report, _ = make_step(torch.float64)
    assert report.losses["total"].item() == pytest.approx(float(fixture["loss/total"]), rel=1e-6)
    assert max(projection_errors(projected(model, fixture), fixture).values()) < 3e-3
