# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One camera's endless stream: one frame in, one mask out, at constant cost (docs/stream.md).

The session owns everything that lives in time: the memory, the scene, the clock. The model stays stateless, and each
frame goes through the one recurrence (recurrence.py) that training uses.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m4sam_core.config import StreamConfig
from m4sam_core.stream.bank import RingBank
from m4sam_core.stream.policy import build_policy
from m4sam_core.stream.recurrence import FrameOutput, MemoryState, Network, WriteDecision, step
from m4sam_core.stream.scene import HardEvents, SceneDetector, SceneVerdict
from m4sam_core.stream.write_gate import ImageQuality, WriteGate, measure_masks
from m4sam_core.types import MemoryFeatures
from m4sam_core.vision.cues import FrameCues


@dataclass(frozen=True)
class StreamFrame:
    """Result of one step.

    Attributes:
        mask_prob (1, 1, S, S): saliency probability in [0, 1], at the model's size.
        scene_id: number of the scene, from 0; counts resets.
        frame_index: number of the frame in its scene, from 0.
        reset_reason: why a new scene begins with this frame, None when it does not.
        wrote_memory: the frame was remembered.
        refusal: why a frame that was due was not remembered, None otherwise.
        memory_entries: frames remembered now.
        scene: what the scene detector made of the frame.
    """

    mask_prob: Tensor
    scene_id: int
    frame_index: int
    reset_reason: str | None
    wrote_memory: bool
    refusal: str | None
    memory_entries: int
    scene: SceneVerdict


class StreamSession:
    """Memory and scene of one camera. Not thread-safe: one thread steps."""

    def __init__(self, model: Network, cfg: StreamConfig | None = None) -> None:
        """Start a stream.

        Args:
            model: ready for inference, wherever it is to run.
            cfg: memory policy, write gate, scene changes.
        """
        self.model = model
        self.cfg = cfg or StreamConfig()
        self._gate = WriteGate(self.cfg.write_gate)
        self._detector = SceneDetector(self.cfg.scene)
        self._hard_events = HardEvents(self.cfg.scene.max_gap_s)
        self._new_memory()
        self._scene_id = 0
        self._frame_index = 0
        self._reset_reason: str | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes the memory holds: bank and sensory state."""
        sensory = self._state.sensory
        return self._bank.nbytes + (0 if sensory is None else sensory.nbytes)

    def step(
        self,
        rgb: Tensor,
        depth: Tensor,
        stamp_s: float,
        cues: FrameCues | None = None,
        camera: Hashable = None,
        mark: Callable[[str], None] | None = None,
    ) -> StreamFrame:
        """Segment the next frame.

        If anything fails on the way the memory may be half written, so the stream starts a new scene with its next
        frame.

        Args:
            rgb (1, 3, S, S): colour in [0, 1], at the model's size, on its device.
            depth (1, 1, S, S): depth in [0, 1], larger = farther, holes 0.
            stamp_s: time of the frame, rising; an equal stamp is read but not remembered. Seconds.
            cues: the frame at a glance; without them only hard events reset, and pictures are not judged.
            camera: whatever tells cameras apart (size, frame_id, intrinsics); a change starts a new scene.
            mark: called with a stage's name as soon as it is done, for timing.
        """
        try:
            with torch.inference_mode():
                return self._step(rgb, depth, stamp_s, cues, camera, mark or _ignore)
        except BaseException as error:
            self.reset(f"frame failed: {type(error).__name__}")
            raise

    def pass_over(self, size_px: int, stamp_s: float, camera: Hashable = None) -> StreamFrame:
        """A frame in which nothing can be seen: the mask is empty, memory and scene stay as they are.

        Args:
            size_px: side S of the model's square.
            stamp_s: see `step`.
            camera: see `step`.
        """
        self._watch_clock(size_px, stamp_s, camera)
        return self._frame(torch.zeros(1, 1, size_px, size_px), SceneVerdict())

    def reset(self, reason: str) -> None:
        """Forget scene and clock; the next frame starts a new scene exactly as a fresh stream would."""
        self._hard_events.clear()
        self._detector.clear()
        self._restart(reason)

    def configure(self, cfg: StreamConfig) -> None:
        """Change settings between two frames; another memory layout or policy starts a new scene."""
        old, self.cfg = self.cfg, cfg
        self._gate.cfg = cfg.write_gate
        self._detector.configure(cfg.scene)
        self._hard_events.max_gap_s = cfg.scene.max_gap_s
        if cfg.bank != old.bank:
            self._new_memory()
            self._restart("memory settings changed")

    def _step(
        self,
        rgb: Tensor,
        depth: Tensor,
        stamp_s: float,
        cues: FrameCues | None,
        camera: Hashable,
        mark: Callable[[str], None],
    ) -> StreamFrame:
        self._watch_clock(rgb.shape[-1], stamp_s, camera)
        features = self.model.encode(rgb, depth, aux=False)
        mark("encode")
        verdict = self._watch_scene(features.memory, stamp_s, cues)
        if verdict.changed:
            self._restart(f"scene change (score {verdict.score:.2f})")
        if self._policy.restarts():
            self._clear_scene()

        wrote, refusal = False, None

        def decide(output: FrameOutput) -> WriteDecision | None:
            nonlocal wrote, refusal
            if not self._policy.wants(stamp_s):
                return None
            refusal = self._gate.judge(
                measure_masks(output.mask_prob, torch.sigmoid(output.features.coarse_logits[-1])),
                _image_quality(cues, verdict),
                stamp_s,
            )
            slot = self._policy.place(stamp_s, trusted=refusal is None)
            if slot is None:
                return None
            wrote = True
            return WriteDecision(deep_update=self.cfg.deep_update == "always", slot=slot)

        output = step(self.model, features, self._state, decide)
        mark("memory")
        return self._frame(output.mask_prob, verdict, wrote, refusal)

    def _frame(
        self, mask_prob: Tensor, verdict: SceneVerdict, wrote: bool = False, refusal: str | None = None
    ) -> StreamFrame:
        frame = StreamFrame(
            mask_prob=mask_prob,
            scene_id=self._scene_id,
            frame_index=self._frame_index,
            reset_reason=self._reset_reason,
            wrote_memory=wrote,
            refusal=refusal,
            memory_entries=self._bank.count,
            scene=verdict,
        )
        self._frame_index += 1
        self._reset_reason = None
        return frame

    def _watch_clock(self, size_px: int, stamp_s: float, camera: Hashable) -> None:
        hard = self._hard_events.update(stamp_s, (size_px, camera))
        if hard is not None:
            self._detector.clear()
            self._restart(hard)

    def _watch_scene(self, memory: MemoryFeatures | None, stamp_s: float, cues: FrameCues | None) -> SceneVerdict:
        if cues is None:
            return SceneVerdict()
        descriptor: NDArray[np.float32] | None = None
        if self.cfg.scene.encoder_weight > 0 and memory is not None:
            descriptor = memory.fused.mean(dim=(2, 3))[0].float().cpu().numpy()
        return self._detector.update(cues, stamp_s, descriptor)

    def _new_memory(self) -> None:
        self._policy = build_policy(self.cfg.bank)
        self._bank = RingBank(self.cfg.bank.capacity)
        self._state = MemoryState(self._bank)

    def _restart(self, reason: str) -> None:
        self._clear_scene()
        if self._frame_index > 0:
            self._scene_id += 1
            self._frame_index = 0
        self._reset_reason = reason

    def _clear_scene(self) -> None:
        self._bank.clear()
        self._policy.clear()
        self._gate.clear()
        self._state.sensory = None


def _image_quality(cues: FrameCues | None, verdict: SceneVerdict) -> ImageQuality:
    if cues is None:
        return ImageQuality()
    return ImageQuality(verdict.relative_sharpness, cues.exposure, verdict.suspect)


def _ignore(_: str) -> None:
    """No timing wanted."""
