# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks with ONNX Runtime alone, no PyTorch: python docs/examples/onnx_stream.py EXPORTED CLIP OUT.

EXPORTED is what `m4sam export EXPORTED` wrote; CLIP has rgb/ and depth/ (16 bit, millimetres); OUT receives PNGs. The
package does more: time-sampled memory, scene changes, a gate for bad frames, better resizing (docs/stream.md).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

CAPACITY = 16  # frames remembered


def main(exported: Path, clip: Path, out: Path) -> None:
    """Segment the clip's frames in order, remembering each of the last `CAPACITY`."""
    about = json.loads((exported / "manifest.json").read_text())
    side, graphs = about["input_size_px"], about["graphs"]
    sessions = {name: onnxruntime.InferenceSession(str(exported / graph["file"])) for name, graph in graphs.items()}

    def run(name: str, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        wanted = {key: arrays[key] for key in graphs[name]["inputs"]}
        return dict(zip(graphs[name]["outputs"], sessions[name].run(None, wanted), strict=True))

    keys: list[np.ndarray] = []
    values: list[np.ndarray] = []
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((clip / "rgb").iterdir()):
        picture = cv2.imread(str(path))
        metres = cv2.imread(str(clip / "depth" / path.name), cv2.IMREAD_UNCHANGED) * np.float32(0.001)
        near, far = np.percentile(metres[metres > 0], (2, 98))
        unit = np.where(metres > 0, np.clip((metres - near) / max(far - near, 1e-3), 0, 1), 0).astype(np.float32)
        rgb = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32) / 255
        depth = cv2.resize(unit, (side, side), interpolation=cv2.INTER_NEAREST)[None, None]
        frame = run("encode", rgb=np.ascontiguousarray(rgb.transpose(2, 0, 1)[None]), depth=depth)
        if not keys:  # a scene begins with the network's own first guess
            guess = 1 / (1 + np.exp(-frame["coarse_logits"]))
            prior = (guess - guess.min()) / max(float(np.ptp(guess)), 1e-9)
            zeros = np.zeros((1, about["sensory_dim"], *frame["fused"].shape[2:]), np.float32)
            first = run("remember", fused=frame["fused"], mask_prob=prior, sensory=zeros)
            read, sensory = ([frame["key"]], [first["value"]]), first["next_sensory"]
        else:
            read = keys, values
        memory = {"key": np.concatenate(read[0], axis=1), "value": np.concatenate(read[1], axis=1)}
        seen = run("recall", **{**frame, **memory, "sensory": sensory})
        prob = 1 / (1 + np.exp(-seen["mask_logits"]))
        kept = run("remember", fused=frame["fused"], mask_prob=prob, sensory=seen["next_sensory"])
        keys, values, sensory = [*keys, frame["key"]], [*values, kept["value"]], kept["next_sensory"]
        keys, values = keys[-CAPACITY:], values[-CAPACITY:]
        mask = cv2.resize(prob[0, 0], picture.shape[1::-1]) > 0.5
        cv2.imwrite(str(out / f"{path.stem}.png"), mask.astype(np.uint8) * 255)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
