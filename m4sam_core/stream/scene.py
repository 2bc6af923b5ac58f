# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""When the camera has begun to look at something else (docs/stream.md#scene-changes).

Two judges. `HardEvents` knows facts that always start a new scene: time going backwards, a long gap, another image
size or camera. `SceneDetector` looks at the pictures; it is small and replaceable
(docs/decisions/0011-scene-detector.md).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m4sam_core.config import SceneConfig
from m4sam_core.vision.cues import FrameCues, FrameDifference, compare_frames

# How much each cue speaks for a cut, found on generated recordings (m4sam bench scenes).
_WEIGHT_STRUCTURE, _WEIGHT_COLOUR, _WEIGHT_DEPTH = 0.65, 0.2, 0.15
_STRUCTURE_FREE = 0.5  # share of the view that pans, hands and blur may take away
_COLOUR_FULL = 0.4  # Hellinger distance that counts as entirely other colours
_DEPTH_FULL = 0.5  # share of the view at another distance that counts as an entirely other place
_THRESHOLD = 0.82  # score at sensitivity 0.5

_LEAST_EXPOSURE = 0.3  # below this share of usable pixels a frame says nothing
_SOUND_SHARE = 0.5  # of the threshold: below it a frame fits beyond doubt
_BRIGHTNESS_JUMP = 0.12
_STRUCTURE_GONE = 0.9  # more than light alone can hide in a frame that still has contrast
_LOW_CONTRAST = 0.06  # standard deviation of luminance
_DIMMED = 0.35  # of the scene's brightness
_BURNT_OUT = 0.6  # usable pixels over the scene's: below it, colours cannot be held against a frame
_DEPTH_SAME = 0.12  # share of the view at another distance that noise and a moving object may cause
_COLOUR_SAME = 0.25  # Hellinger distance that light and blur may cause
_BLURRED = 0.5  # sharpness relative to the scene's mean
_VETO_PATIENCE_S = 0.7  # a mere doubt about the picture cannot put off a reset for longer
_SHARPNESS_MEMORY = 0.1  # weight of the newest frame in the running mean
_DESCRIPTOR_MEMORY = 0.2
_DESCRIPTOR_FULL = 0.3  # cosine distance that counts as an entirely other scene


@dataclass(frozen=True, kw_only=True)
class SceneVerdict:
    """What the detector makes of one frame; by default a frame that begins a scene, or that nobody judged.

    Attributes:
        changed: a new scene begins with this frame.
        suspect: the frame does not fit the scene (so far); it should not be remembered.
        veto: why an odd frame is not held for a cut (yet), see `_innocent_cause`; None otherwise.
        score: evidence of a cut, 0 = the same picture, 1 = nothing in common.
        relative_sharpness: sharpness over the scene's running mean.
    """

    changed: bool = False
    suspect: bool = False
    veto: str | None = None
    score: float = 0.0
    relative_sharpness: float = 1.0


class HardEvents:
    """Facts that start a new scene whatever the pictures show."""

    def __init__(self, max_gap_s: float) -> None:
        """Set the longest pause between two frames of one scene. Seconds."""
        self.max_gap_s = max_gap_s
        self._stamp_s: float | None = None
        self._camera: Hashable = None

    def update(self, stamp_s: float, camera: Hashable) -> str | None:
        """Take note of a frame; return the reason to reset before it, or None.

        Args:
            stamp_s: time of the frame. Seconds.
            camera: whatever tells cameras apart: image size, frame_id, intrinsics.
        """
        last_s, last_camera = self._stamp_s, self._camera
        self._stamp_s, self._camera = stamp_s, camera
        if last_s is None:
            return None
        if stamp_s < last_s:
            return f"time went back by {last_s - stamp_s:.3f} s"
        if stamp_s - last_s > self.max_gap_s:
            return f"gap of {stamp_s - last_s:.2f} s"
        if camera != last_camera:
            return "camera changed"
        return None

    def clear(self) -> None:
        """Forget the last frame."""
        self._stamp_s, self._camera = None, None


class SceneDetector:
    """Cut detection by comparison with the last frame that fitted the scene.

    Comparing with the last good frame lets slow change pass and needs no model of the scene. An odd frame is first
    held against the innocent causes: no usable exposure, light that moved while the depth did not, blur. What remains
    is a cut once `confirm_frames` odd frames in a row agree with each other, so a lone bad frame never resets.
    """

    def __init__(self, cfg: SceneConfig) -> None:
        """See SceneConfig."""
        self.configure(cfg)
        self.clear()

    def configure(self, cfg: SceneConfig) -> None:
        """Change the settings; the scene goes on."""
        self.cfg = cfg
        self._threshold = threshold_of(cfg)

    def clear(self) -> None:
        """Begin a scene with the next frame."""
        self._last_reset_s = float("-inf")
        self._reference: FrameCues | None = None  # the last frame that fitted
        self._sound: FrameCues | None = None  # the last that fitted beyond doubt: a torn frame may just pass
        self._pending: FrameCues | None = None
        self._streak = 0
        self._odd_since_s: float | None = None
        self._sharpness: float | None = None
        self._descriptor: NDArray[np.float32] | None = None

    def update(self, cues: FrameCues, stamp_s: float, descriptor: NDArray[np.float32] | None = None) -> SceneVerdict:
        """Judge one frame.

        Args:
            cues: the frame at a glance.
            stamp_s: its time. Seconds.
            descriptor (C,): the encoder's global descriptor, used when `encoder_weight` > 0.
        """
        if self._reference is None:
            self._begin(cues, stamp_s, descriptor)
            return SceneVerdict()
        sharpness = cues.sharpness / max(self._sharpness or cues.sharpness, 1e-6)
        difference = compare_frames(self._reference, cues)
        score = self._mix(scene_score(difference), descriptor)
        if score >= self._threshold and self._sound is not None and self._sound is not self._reference:
            other = compare_frames(self._sound, cues)
            other_score = self._mix(scene_score(other), descriptor)
            if other_score < score:
                difference, score = other, other_score
        if score < self._threshold:
            self._accept(cues, descriptor, score)
            return SceneVerdict(score=score, relative_sharpness=sharpness)
        if self._odd_since_s is None:
            self._odd_since_s = stamp_s
        patient = stamp_s - self._odd_since_s < _VETO_PATIENCE_S
        veto = _innocent_cause(difference, self._reference, cues, sharpness)
        if veto == "lighting" and not patient:
            self._accept(cues, descriptor, 0.0)  # the same place in another light, for good
            return SceneVerdict(veto=veto, score=score, relative_sharpness=sharpness)
        if veto in ("exposure", "dark") or (veto is not None and patient):
            self._pending, self._streak = None, 0
            return SceneVerdict(suspect=True, veto=veto, score=score, relative_sharpness=sharpness)
        changed = self._confirmed(cues) and stamp_s - self._last_reset_s >= self.cfg.cooldown_s
        if changed:
            self.clear()
            self._begin(cues, stamp_s, descriptor)
            sharpness = 1.0  # from here on everything is as in a fresh stream
        return SceneVerdict(changed=changed, suspect=not changed, score=score, relative_sharpness=sharpness)

    def _begin(self, cues: FrameCues, stamp_s: float, descriptor: NDArray[np.float32] | None) -> None:
        self._last_reset_s = stamp_s
        self._accept(cues, descriptor, 0.0)

    def _accept(self, cues: FrameCues, descriptor: NDArray[np.float32] | None, score: float) -> None:
        self._reference = cues
        if score < _SOUND_SHARE * self._threshold:
            self._sound = cues
        self._pending, self._streak, self._odd_since_s = None, 0, None
        mean = self._sharpness
        self._sharpness = cues.sharpness if mean is None else mean + _SHARPNESS_MEMORY * (cues.sharpness - mean)
        if descriptor is not None:
            old = self._descriptor
            self._descriptor = descriptor if old is None else old + _DESCRIPTOR_MEMORY * (descriptor - old)

    def _confirmed(self, cues: FrameCues) -> bool:
        agrees = self._pending is not None and scene_score(compare_frames(self._pending, cues)) < self._threshold
        self._streak = self._streak + 1 if agrees else 1
        self._pending = cues
        return self._streak >= self.cfg.confirm_frames

    def _mix(self, score: float, descriptor: NDArray[np.float32] | None) -> float:
        if descriptor is None or self._descriptor is None or self.cfg.encoder_weight == 0:
            return score
        product = float(np.linalg.norm(descriptor) * np.linalg.norm(self._descriptor))
        distance = 1.0 - float(descriptor @ self._descriptor) / max(product, 1e-12)
        weight = self.cfg.encoder_weight
        return (1 - weight) * score + weight * min(1.0, distance / _DESCRIPTOR_FULL)


def threshold_of(cfg: SceneConfig) -> float:
    """The score from which a frame is odd: beyond 1 (never) at sensitivity 0, 0 at sensitivity 1."""
    if not cfg.enabled or cfg.sensitivity == 0:
        return float("inf")
    if cfg.sensitivity >= 0.5:
        return _THRESHOLD * 2 * (1 - cfg.sensitivity)
    return _THRESHOLD + (1 - _THRESHOLD) * (1 - 2 * cfg.sensitivity)


def scene_score(difference: FrameDifference) -> float:
    """Weighted evidence of a cut in [0, 1]; without depth the other cues share its weight."""
    structure = max(0.0, difference.structure - _STRUCTURE_FREE) / (1 - _STRUCTURE_FREE)
    colour = min(1.0, difference.colour / _COLOUR_FULL)
    score = _WEIGHT_STRUCTURE * structure + _WEIGHT_COLOUR * colour
    if np.isnan(difference.depth):
        return score / (_WEIGHT_STRUCTURE + _WEIGHT_COLOUR)
    return score + _WEIGHT_DEPTH * min(1.0, difference.depth / _DEPTH_FULL)


def _innocent_cause(
    difference: FrameDifference, reference: FrameCues, cues: FrameCues, relative_sharpness: float
) -> str | None:
    """Why an odd frame may be no cut.

    "exposure", "dark": nothing to be seen, or next to nothing after the light went out: wait until there is more.
    "lighting": the light moved, the depth did not, and what can still be seen is not all different.
    "flicker" (the light moved, the colours did not or are burnt out, no depth to ask) and "blur" are doubts for a while
    only.
    """
    if cues.exposure < _LEAST_EXPOSURE:
        return "exposure"
    dimmed = cues.brightness < _DIMMED * reference.brightness and cues.contrast < _LOW_CONTRAST
    if dimmed and not difference.depth > _DEPTH_FULL:
        return "dark"
    if difference.brightness > _BRIGHTNESS_JUMP:
        too_dark = min(reference.contrast, cues.contrast) < _LOW_CONTRAST
        if difference.depth < _DEPTH_SAME and (too_dark or difference.structure < _STRUCTURE_GONE):
            return "lighting"
        burnt_out = cues.exposure < _BURNT_OUT * reference.exposure
        if np.isnan(difference.depth) and (burnt_out or difference.colour < _COLOUR_SAME):
            return "flicker"
    return "blur" if relative_sharpness < _BLURRED and difference.colour < _COLOUR_SAME else None
