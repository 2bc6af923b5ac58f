# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every architecture builds, and adapters start as the plain trunk."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import MODEL_PRESETS, MemoryFeature, ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.model.memory import Agreement
from m4sam_core.stream.recurrence import unroll_clip


def nano(**changes: object) -> ModelConfig:
    base = ModelConfig.preset("nano").model_dump()
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) else value
    return ModelConfig.parse(base)


def run(model: M4SAM, size_px: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(1, 2, 3, size_px, size_px, generator=generator)
    depth = torch.rand(1, 2, 1, size_px, size_px, generator=generator)
    return unroll_clip(model, rgb, depth).mask_prob


@pytest.mark.parametrize("kind", ["moe_lora", "conv_lora", "lora", "none"])
def test_a_fresh_adapter_changes_nothing(kind: str) -> None:
    torch.manual_seed(0)
    plain = build_model(nano(adapter={"kind": "none"})).eval()
    adapted = build_model(nano(adapter={"kind": kind})).eval()
    missing, unexpected = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("adapters" in key or "bottlenecks" in key for key in missing)
    with torch.inference_mode():
        torch.testing.assert_close(run(adapted), run(plain), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["moe_lora", "conv_lora", "lora", "bottleneck"])
def test_training_reaches_the_adapters_and_never_the_trunk(kind: str) -> None:
    model = build_model(nano(adapter={"kind": kind}))
    run(model).mean().backward()
    for name, parameter in model.named_parameters():
        if name.startswith("trunk.hiera."):
            assert not parameter.requires_grad
    touched = [n for n, p in model.named_parameters() if n.startswith("trunk.") and p.grad is not None and p.grad.any()]
    assert touched


@pytest.mark.parametrize("feature", get_args(MemoryFeature))
def test_memory_features(feature: str) -> None:
    assert run(build_model(nano(memory={"feature": feature}))).shape == (1, 2, 1, 64, 64)


def test_mask_decoder_that_sees_detail_starts_as_the_one_that_does_not() -> None:
    plain = build_model(nano()).eval()
    detailed = build_model(nano(memory={"mask_detail": True})).eval()
    detailed.load_state_dict(plain.state_dict(), strict=False)
    weights = detailed.state_dict()
    assert set(weights) - set(plain.state_dict()) == {"mask_decoder.detail.weight"}
    assert torch.equal(run(detailed), run(plain))


def test_mask_that_sees_detail_is_finer_than_the_memory() -> None:
    """What changes within one cell of the memory reaches the mask by that way alone."""
    model = build_model(nano(memory={"mask_detail": True})).eval()
    torch.nn.init.ones_(model.mask_decoder.detail.weight)
    features = model.encode(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)).memory
    readout, sensory = torch.zeros(1, 32, 8, 8), model.initial_sensory(features)
    before, _ = model.segment(features, readout, sensory)
    features.detail[:, :, 5, 6] += 10
    changed = (model.segment(features, readout, sensory)[0] != before)[0, 0].nonzero()
    assert changed.min(dim=0).values.tolist() == [4 * 5 - 1, 4 * 6 - 1]
    assert changed.max(dim=0).values.tolist() == [4 * 5 + 4, 4 * 6 + 4]


def test_a_memory_that_sees_agreement_starts_as_one_that_does_not() -> None:
    plain = build_model(nano()).eval()
    seeing = build_model(nano(memory={"agreement": True})).eval()
    seeing.load_state_dict(plain.state_dict(), strict=False)
    assert {name.split(".")[1] for name in set(seeing.state_dict()) - set(plain.state_dict())} == {"agreement"}
    torch.testing.assert_close(run(seeing), run(plain), atol=1e-6, rtol=0)


def test_agreement_is_the_share_of_what_is_remembered_that_the_picture_shows() -> None:
    """Through a path that hands its fourth input on: a quarter, all, and nothing of the remembered mask is seen."""
    path = Agreement(1)
    for parameter in path.parameters():
        torch.nn.init.zeros_(parameter)
    path.mix.weight.data[0, 3, 1, 1] = path.project.weight.data[0, 0, 1, 1] = 1
    remembered = torch.zeros(3, 1, 8, 8)
    remembered[:2, :, 2:6, 2:6] = 1
    seen = torch.ones(3, 1, 8, 8)
    seen[0, :, :, 3:] = 0
    share = path(seen, remembered)
    torch.testing.assert_close(share, torch.tensor([0.25, 1.0, 0.0]).view(3, 1, 1, 1).expand_as(share))


def test_a_mask_that_the_picture_denies_is_told_from_one_that_it_shows() -> None:
    """The remembered mask and the coarse one both reach the final mask by the new way alone."""
    model = build_model(nano(memory={"agreement": True})).eval()
    torch.nn.init.ones_(model.fuser.agreement.project.weight)
    features = model.encode(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)).memory
    readout, sensory = torch.zeros(1, 33, 8, 8), model.initial_sensory(features)
    denied, _ = model.segment(features, readout, sensory)
    readout[:, -1, 2:5, 2:5] = 1
    assert not torch.equal(model.segment(features, readout, sensory)[0], denied)
    features.embed[:, -1] = 0
    assert not torch.equal(model.segment(features, torch.zeros_like(readout), sensory)[0], denied)


def test_without_memory_the_mask_is_the_coarse_one() -> None:
    model = build_model(nano(memory={"enabled": False})).eval()
    rgb, depth = torch.rand(1, 2, 3, 64, 64), torch.rand(1, 2, 1, 64, 64)
    with torch.inference_mode():
        clip = unroll_clip(model, rgb, depth)
    assert torch.equal(clip.mask_logits, clip.coarse_logits[-1])


@pytest.mark.parametrize(
    "changes",
    [{"fusion": {"kind": "uim_lite"}}, {"rgb_norm": "imagenet"}, {"adapter": {"full_qv": True, "combine": "paper"}}],
)
def test_options_run_forward_and_backward(changes: dict[str, object]) -> None:
    model = build_model(nano(**changes))
    prob = run(model)
    prob.mean().backward()
    assert torch.isfinite(prob).all()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_memory_feature_of_an_input_that_is_not_the_default_size() -> None:
    model = build_model(ModelConfig.preset("nano")).eval()
    with torch.inference_mode():
        assert run(model, 96).shape == (1, 2, 1, 96, 96)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "small", "base_plus", "large"])
def test_every_published_trunk_size_builds_and_runs(name: str) -> None:
    model = build_model(ModelConfig.preset(name)).eval()
    with torch.inference_mode():
        prob = run(model, 352)
    assert prob.shape == (1, 2, 1, 352, 352)
    assert torch.isfinite(prob).all()


@pytest.mark.parametrize("name", sorted(MODEL_PRESETS))
def test_every_preset_is_a_valid_config(name: str) -> None:
    cfg = ModelConfig.preset(name)
    assert ModelConfig.parse(cfg.model_dump()) == cfg


def test_an_unknown_preset_or_key_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="nano"):
        ModelConfig.preset("gigantic")
    with pytest.raises(ConfigError, match=r"known ones here: .*top_k"):
        ModelConfig.parse({"adapter": {"topk": 2}})
    with pytest.raises(ConfigError, match="less than or equal to 3"):
        ModelConfig.parse({"adapter": {"top_k": 4}})
