# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Reproducible weights and compact comparisons for the parity tests.

Weights are a function of the published key and shape alone, made from raw PCG64 words and exact integer sums, so
every machine fills the same numbers. A tensor is compared in full, subsampled (`name@2`), or by 64 random projections
(`name/proj`), whichever the reference file holds.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
_DEVIATION = float(np.sqrt((65536.0**2 - 1.0) / 3.0))

# (pattern in the published key, mean, gain, mode): the deviation is the gain, or the gain over sqrt(fan_in).
_RULES: list[tuple[str, float, float, str]] = [
    (r"num_batches_tracked$", 0.0, 0.0, "absolute"),
    (r"_gate\.mean$", 0.0, 0.0, "absolute"),
    (r"_gate\.std$", 1.0, 0.0, "absolute"),
    (r"running_mean$", 0.0, 0.05, "absolute"),
    (r"running_var$", 1.0, 0.20, "absolute"),
    (r"encoder\.pos_embed(_window)?$", 0.0, 0.30, "absolute"),
    (r"encoder\.patch_embed\.proj\.weight$", 0.0, 2.00, "fan"),
    (r"\.attn_qkv\.weight$", 0.0, 1.00, "fan"),
    (r"blocks\.\d+\.attn\.proj\.weight$", 0.0, 0.60, "fan"),
    (r"blocks\.\d+\.mlp\.layers\.0\.weight$", 0.0, 1.00, "fan"),
    (r"blocks\.\d+\.mlp\.layers\.1\.weight$", 0.0, 0.60, "fan"),
    (r"\.lora_[AB]$", 0.0, 1.00, "fan"),
    (r"_gate\.w_gate$", 0.0, 1.00, "absolute"),
    (r"_gate\.w_noise$", 0.0, 0.50, "absolute"),
    (r"_experts\.\d+\.\d+\.weight$", 0.0, 1.20, "fan"),
    (r"\.bias$", 0.0, 0.05, "absolute"),
    (r"^uim\d\.catconv1\.conv\.weight$", 0.0, 0.80, "fan"),
    (r"^uim1\.catconv2\.conv\.weight$", 0.0, 0.60, "fan"),
    (r"^uim2\.catconv2\.conv\.weight$", 0.0, 0.30, "fan"),
    (r"^uim3\.catconv2\.conv\.weight$", 0.0, 0.10, "fan"),
    (r"^uim4\.catconv2\.conv\.weight$", 0.0, 0.40, "fan"),
    (r"^rfb\d\..*conv\.weight$", 0.0, 1.00, "fan"),
    (r"^(side\d|head|edge\d|edge_head)\.weight$", 0.0, 2.20, "fan"),
    (r"^MLF\.gate_conv\.0\.weight$", 0.0, 1.00, "fan"),
    (r"key_proj\.key_proj\.weight$", 0.0, 2.20, "fan"),
    (r"key_proj\.d_proj\.weight$", 0.0, 0.50, "fan"),
    (r"key_proj\.e_proj\.weight$", 0.0, 1.00, "fan"),
    (r"decoder\.fuser\.block\d\..*weight$", 0.0, 0.80, "fan"),
    (r"(hidden_reinforce|hidden_update)\.transform\.weight$", 0.0, 1.20, "fan"),
    (r"deconv\d\.weight$", 0.0, 1.20, "fan_transposed"),
    (r"final_conv\.weight$", 0.0, 4.50, "fan"),
    (r".", 0.0, 1.30, "fan"),
]


def noise(label: str, n: int) -> np.ndarray:
    """N numbers of mean 0 and variance 1 that depend on the label alone (sum of four uniform 16-bit words)."""
    words = np.atleast_1d(np.random.PCG64(zlib.crc32(label.encode())).random_raw(n)).astype(np.uint64)
    sums = words.view("<u2").reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return (sums - 131070).astype(np.float64) / _DEVIATION


def value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The reference weight of a published key."""
    mean, gain, mode = next((m, g, mode) for pattern, m, g, mode in _RULES if re.search(pattern, key))
    if mode == "fan" and len(shape) == 1:  # the weight of a normalisation layer
        mean, gain, mode = 1.0, 0.10, "absolute"
    if gain == 0.0:
        return np.full(shape, mean, np.float32)
    fan = {"absolute": 1, "fan": np.prod(shape[1:]), "fan_transposed": shape[0]}[mode]
    filled = (mean + gain / np.sqrt(fan) * noise(key, int(np.prod(shape)))).reshape(shape)
    if key.endswith("value_encoder.mask_enhancer.0.weight"):
        filled[:, -1] *= 8.0  # the mask's own channel must matter
    return filled.astype(np.float32)


def fill(state: Mapping[str, torch.Tensor], rename: Callable[[str], str]) -> None:
    """Overwrite live tensors with the reference weights of the keys `rename` gives them."""
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(torch.from_numpy(value(rename(name), tuple(tensor.shape))))


def checksum(state: Mapping[str, torch.Tensor]) -> int:
    """CRC32 over the sorted float tensors and their names."""
    crc = 0
    for key in sorted(state):
        if state[key].is_floating_point():
            crc = zlib.crc32(state[key].detach().numpy().astype("<f4").tobytes(), zlib.crc32(key.encode(), crc))
    return crc


def project(label: str, x: np.ndarray) -> np.ndarray:
    """64 projections of every sample of x (N, ...) on random signs that depend on the label alone: (N, 64)."""
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    words = np.random.PCG64(zlib.crc32(f"proj:{label}".encode())).random_raw(flat.shape[1])
    words = np.atleast_1d(words).astype(np.uint64)
    total = flat.sum(axis=1)
    columns = [2 * (flat @ ((words >> np.uint64(bit)) & np.uint64(1)).astype(np.float64)) - total for bit in range(64)]
    return np.stack(columns, axis=1) / np.sqrt(flat.shape[1])


class Reference:
    """Measured outputs of the published model."""

    def __init__(self, path: Path) -> None:
        self.arrays = np.load(path)

    def __contains__(self, name: str) -> bool:
        return any(f"{name}{form}" in self.arrays for form in ("", "@2", "/proj"))

    def errors(self, name: str, x: torch.Tensor) -> tuple[float, float]:
        """(mean |difference| / mean |reference|, largest |difference|) of our tensor x."""
        ours = x.detach().float().numpy()
        if name in self.arrays:
            theirs = self.arrays[name]
            ours = ours.reshape(theirs.shape)
        elif f"{name}@2" in self.arrays:
            theirs = self.arrays[f"{name}@2"]
            ours = ours[..., ::2, ::2]
        else:
            theirs = self.arrays[f"{name}/proj"]
            ours = project(name, ours)
        difference = np.abs(ours.astype(np.float64) - theirs)
        return float(difference.mean() / (np.abs(theirs).mean() + 1e-12)), float(difference.max())

    def clip(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The reference input: rgb (B, T, 3, H, W) and depth (B, T, 1, H, W), both in [0, 1]."""
        rgb = torch.from_numpy(self.arrays["in/rgb"]).permute(0, 1, 4, 2, 3).float() / 255
        depth = torch.from_numpy(self.arrays["in/depth"])[:, :, None].float() / 255
        return rgb, depth
