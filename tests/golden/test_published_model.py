# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The model against measured outputs of the published one (docs/model.md#parity), float32 on a CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, save_checkpoint
from m4sam_core.config import ModelConfig
from m4sam_core.model import moe_lora
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.release import load_release_checkpoint, official_key
from m4sam_core.stream.recurrence import unroll_clip
from m4sam_core.types import Modality
from tests.golden import kit

pytestmark = pytest.mark.golden

MEAN_TOLERANCE = 1e-5  # of mean |difference| / mean |reference|
MAP_TOLERANCE = 5e-5  # of a probability


@pytest.fixture(scope="module", autouse=True)
def _both_cores() -> Iterator[None]:
    threads = torch.get_num_threads()
    if "PYTEST_XDIST_WORKER" not in os.environ:  # else other tests have the second one
        torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> M4SAM:
    """The release architecture with the reference weights."""
    model = build_model(ModelConfig.preset("release")).eval()
    kit.fill(model.state_dict(), official_key)
    return model


class Recorder:
    """Collects the intermediate tensors of one clip under the reference's names."""

    def __init__(self, model: M4SAM, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[str, Tensor] = {}
        self.gates: dict[str, list[Tensor]] = {"rgb": [], "depth": []}
        self._suffix = suffix
        self._counts: dict[str, int] = {}
        self._hooks = [model.trunk.register_forward_hook(self._trunk)]
        self._hooks.append(model.key_path.register_forward_hook(self._key_path))
        for parts, names in (
            (model.fusions, ("uim1", "uim2", "uim3", "uim4")),
            (model.receptive, ("rfb1", "rfb2", "rfb3", "rfb4")),
            (model.decoder.ups, ("up1", "up2", "up3")),
            (model.decoder.coarse_heads, ("lowres/side1", "lowres/side2", "lowres/head")),
            (model.decoder.edge_heads, ("lowres/edge1", "lowres/edge2", "lowres/edge_head")),
            ([model.gated_fusion], ("MLF",)),
        ):
            for part, name in zip(parts, names, strict=True):
                self._watch(part, name, per_step=False)
        for part, name in (
            (model.value_path, "mem.value"),
            (model.fuser, "mem.embed"),
            (model.sensory_update, "mem.hidden_dec"),
            (model.mask_decoder, "mem.logits"),
        ):
            self._watch(part, name, per_step=True)
        self._wrap(model, "read", "mem.readout", monkeypatch, lambda out: out)
        self._wrap(model, "encode_value", "mem.hidden_enc", monkeypatch, lambda out: out[1])
        self._wrap_route(monkeypatch)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, name: str, tensor: Tensor) -> None:
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        self.seen[f"{name}.{count}{self._suffix}"] = tensor

    def _watch(self, module: nn.Module, name: str, *, per_step: bool) -> None:
        def hook(_: nn.Module, __: object, out: Tensor) -> None:
            if per_step:
                self._note(name, out)
            else:
                self.seen[name] = out

        self._hooks.append(module.register_forward_hook(hook))

    def _trunk(self, _: nn.Module, __: object, out: tuple[list[Tensor], Tensor]) -> None:
        for index, level in enumerate(out[0], start=1):
            for tag, half in zip(("rgb", "depth"), level.chunk(2), strict=True):
                self.seen[f"enc.{tag}.stage{index}"] = half

    def _key_path(self, _: nn.Module, __: object, out: tuple[Tensor, ...]) -> None:
        for name, tensor in zip(("imge", "key", "shrinkage", "selection"), out, strict=True):
            self.seen[f"mem.{name}"] = tensor

    def _wrap(self, model: M4SAM, method: str, name: str, monkeypatch: pytest.MonkeyPatch, pick: object) -> None:
        original = getattr(model, method)

        def wrapped(*args: object, **kwargs: object) -> object:
            out = original(*args, **kwargs)
            self._note(name, pick(out))  # type: ignore[operator]  # a callable
            return out

        monkeypatch.setattr(model, method, wrapped)

    def _wrap_route(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = moe_lora.route

        def wrapped(logits: Tensor, top_k: int) -> object:
            routing = original(logits, top_k)
            tags = self.gates["rgb"], self.gates["depth"]
            (tags[0] if len(tags[0]) == len(tags[1]) else tags[1]).append(routing.gates > 0)
            return routing

        monkeypatch.setattr(moe_lora, "route", wrapped)

    def gate_bits(self) -> np.ndarray:
        """Bit e of a window is set where expert e was used; ordered tag, block, q/v, group, window."""
        bits = torch.tensor([1, 2, 4])
        rows = [
            (used[:, adapter, group] * bits).sum(dim=-1)
            for tag in ("rgb", "depth")
            for used in self.gates[tag]
            for adapter in range(used.shape[1])
            for group in range(used.shape[2])
        ]
        return torch.cat(rows).numpy().astype(np.uint8)


@pytest.mark.parametrize("tag", ["t4", "b2t2"])
@pytest.mark.parametrize("deep_update", ["always", "never"])
def test_clip_equals_the_published_model(
    model: M4SAM, tag: str, deep_update: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = kit.Reference(kit.HERE / f"{tag}.npz")
    suffix = {"always": ".deep", "never": ".shallow"}[deep_update]
    recorder = Recorder(model, suffix, monkeypatch)
    with torch.inference_mode():
        clip = unroll_clip(model, *reference.clip(), deep_update=deep_update)  # type: ignore[arg-type]  # a literal
    recorder.close()

    seen = recorder.seen
    seen[f"mem_out{suffix}"] = clip.mask_prob.flatten(0, 1)
    for names, tensors in (
        (("out1", "out2", "out"), clip.coarse_logits),
        (("edge1", "edge2", "edge_out"), clip.edge_logits),
    ):
        seen.update({name: tensor.flatten(0, 1) for name, tensor in zip(names, tensors, strict=True)})
    seen["moe_loss"] = clip.moe_loss[None]

    compared = {name: reference.errors(name, tensor) for name, tensor in seen.items() if name in reference}
    assert len(compared) >= 45
    worst = max(compared, key=lambda name: compared[name][0])
    print(f"\n{tag} {deep_update}: {len(compared)} tensors, worst {worst} rel.mean {compared[worst][0]:.1e}, ", end="")
    print(f"masks |diff| {compared[f'mem_out{suffix}'][1]:.1e}")
    assert {name: error for name, error in compared.items() if error[0] > MEAN_TOLERANCE} == {}
    assert compared[f"mem_out{suffix}"][1] <= MAP_TOLERANCE
    if tag == "t4" and deep_update == "always":
        assert np.count_nonzero(recorder.gate_bits() != reference.arrays["gates/bits"]) == 0


def _adapted_qkv(model: M4SAM, block: int, modality: Modality, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The qkv of one block on windows x (N, w, w, dim): result, plain result, load-balancing loss."""
    qkv = model.trunk.hiera.blocks[block].attn.qkv
    (q, v), loss = model.trunk.qv_adapters[block](x, (modality,), lambda low: low)
    plain = qkv(x)
    y = plain.clone()
    rows = y.view(-1, y.shape[-1])
    for update, place in ((q, rows[:, : q.dim]), (v, rows[:, -v.dim :])):
        place.addmm_(update.low.flatten(0, -2), update.up.t())
    return y, plain, loss


def _unit_input(block: int) -> Tensor:
    window, dim = {0: (8, 144), 8: (4, 288), 45: (8, 1152)}[block]
    x = kit.noise(f"unit:moe:x{block}", 5 * window * window * dim).reshape(5, window, window, dim).astype(np.float32)
    x[3, window // 2 :] = 0
    x[4, :, window // 2 :] = 0
    return torch.from_numpy(x)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("block", [0, 8, 45])
def test_one_adapter_equals_the_published_one(model: M4SAM, block: int, modality: Modality, mode: str) -> None:
    reference = np.load(kit.HERE / "unit.npz")
    label = f"b{block}/{modality.value}/{mode}"
    adapter = model.trunk.qv_adapters[block]
    before = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    adapter.train(mode == "train")
    for module in adapter.modules():
        if isinstance(module, moe_lora.NoisyTopKGate):
            module.noise = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # the reference evaluated this adapter once
    try:
        with torch.no_grad():
            y, plain, loss = _adapted_qkv(model, block, modality, _unit_input(block))
        mean = adapter.state_dict()["sets.shared.q.experts.fusion.0.1.running_mean"].numpy().copy()
    finally:
        adapter.load_state_dict(before)
        adapter.eval()

    half = plain.shape[-1] // 3 if block != 8 else plain.shape[-1] // 6
    projected = kit.project(f"unit:{label}", y.numpy())
    np.testing.assert_allclose(projected, reference[f"{label}/y_proj"], atol=2e-5 * np.abs(projected).max())
    np.testing.assert_allclose((y - plain)[..., :8], reference[f"{label}/dq_first8"], atol=2e-5)
    np.testing.assert_allclose((y - plain)[..., -half:][..., :8], reference[f"{label}/dv_first8"], atol=2e-5)
    np.testing.assert_allclose(loss, reference[f"{label}/loss"], rtol=1e-5)
    if mode == "train":
        np.testing.assert_allclose(mean, reference[f"{label}/rm"], atol=1e-6)


def test_an_underflowing_gate_drops_its_expert(model: M4SAM) -> None:
    reference = np.load(kit.HERE / "unit.npz")
    gates = [m for m in model.trunk.qv_adapters[0].modules() if isinstance(m, moe_lora.NoisyTopKGate)]
    saved = [gate.w_gate.detach().clone() for gate in gates]
    try:
        with torch.no_grad():
            for gate in gates:
                gate.w_gate.mul_(1e4)
            y, plain, loss = _adapted_qkv(model, 0, Modality.RGB, _unit_input(0))
    finally:
        with torch.no_grad():
            for gate, weight in zip(gates, saved, strict=True):
                gate.w_gate.copy_(weight)
    np.testing.assert_allclose((y - plain)[..., :8], reference["b0/underflow/dq_first8"], atol=2e-5)
    np.testing.assert_allclose(loss, reference["b0/underflow/loss"], rtol=1e-5)


def _official_state(model: M4SAM) -> dict[str, Tensor]:
    """A state dict as the release saves it: all 9,218 keys, the dead ones included."""
    ours = {official_key(name): tensor for name, tensor in model.state_dict().items()}
    state = {}
    for line in np.load(kit.HERE / "keys.npz")["lines"]:
        key, *shape, dtype = str(line).split(" ")
        size = tuple(int(n) for n in shape if n)
        state[key] = ours[key] if key in ours else torch.from_numpy(kit.value(key, size)).to(getattr(torch, dtype))
    return state


def test_release_checkpoint_round_trip_is_bit_exact(model: M4SAM, tmp_path: Path) -> None:
    official = _official_state(model)
    assert len(official) == 9218
    assert kit.checksum(official) == 0xFCBC31D1
    torch.save(official, tmp_path / "release.pth")
    del official
    converted = load_release_checkpoint(tmp_path / "release.pth")
    (tmp_path / "release.pth").unlink()
    save_checkpoint(tmp_path / "ours.safetensors", converted)
    del converted
    loaded = load_checkpoint(tmp_path / "ours.safetensors")

    assert loaded.cfg == model.cfg
    expected = model.state_dict()
    different = [name for name, tensor in loaded.state_dict().items() if not torch.equal(tensor, expected[name])]
    assert different == []
    rgb, depth = kit.Reference(kit.HERE / "t4.npz").clip()
    with torch.inference_mode():
        first, second = (unroll_clip(m, rgb[:, :1], depth[:, :1]) for m in (model, loaded))
    assert torch.equal(first.mask_prob, second.mask_prob)
