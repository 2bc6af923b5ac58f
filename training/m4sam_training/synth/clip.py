# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One generated RGB-D clip with its exact saliency mask, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.errors import InputError
from m4sam_core.rgbd.depth_values import DEFAULT_UNIT_M
from m4sam_core.rgbd.video_yaml import VIDEO_YAML, write_video_yaml
from m4sam_training.synth.builder import SceneBuilder
from m4sam_training.synth.lens import expose, random_lens
from m4sam_training.synth.scene import Scene, SceneStyle
from m4sam_training.synth.sensor import random_sensor, sense

PLAIN_STYLE = SceneStyle(arm_share=0.05)
DrawScene = Callable[[SceneStyle, np.random.Generator, float, npt.NDArray[np.float64]], Scene]


def draw_room(style: SceneStyle, rng: np.random.Generator, aspect: float, stamps: npt.NDArray[np.float64]) -> Scene:  # noqa: ARG001 (one signature)
    """A room or a photograph with salient objects in front, whatever the stamps of the frames."""
    return SceneBuilder(style, rng, aspect).build()


@dataclass(frozen=True)
class SynthFrame:
    """A frame as an RGB-D camera delivers it, with the truth.

    Attributes:
        rgb (H, W, 3): uint8.
        depth (H, W): uint16 millimetres, 0 where there is no reading.
        mask (H, W): uint8, 255 on salient objects, 0 elsewhere.
        label (H, W): uint8, 1, 2, ... on the things that the picture alone would call salient, 0 elsewhere.
        stamp: seconds since the clip's start.
        focal_px: focal length of the pinhole through the image's middle. Pixels.
    """

    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.uint16]
    mask: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]
    stamp: float
    focal_px: float


def generate_clip(
    seed: int,
    frames: int,
    height: int = 480,
    width: int = 640,
    fps: float = 15.0,
    style: SceneStyle = PLAIN_STYLE,
    severity: float = 0.15,
    draw: DrawScene = draw_room,
) -> Iterator[SynthFrame]:
    """Render a clip, one frame at a time.

    Args:
        seed: the same seed gives the same clip.
        frames: number of frames.
        height: image height in pixels.
        width: image width in pixels.
        fps: frames per second of the camera.
        style: what the scene is made of.
        severity: how bad the colour camera is, see `random_lens`.
        draw: what kind of scene.

    Yields:
        Frames in time order.

    Raises:
        InputError: a size or rate that makes no clip.
    """
    if frames < 1 or height < 32 or width < 32 or fps <= 0:
        raise InputError(
            f"synthetic clip: expected frames >= 1, sides >= 32 px, fps > 0, got {frames}, {height}x{width}, {fps}; "
            "choose a larger clip"
        )
    rng = np.random.default_rng(seed)
    stamps = np.arange(frames) / fps
    scene = draw(style, rng, width / height, stamps)
    lens, sensor = random_lens(rng, width, severity), random_sensor(rng, width, style.sensors)
    noise_seed = int(rng.integers(2**62))
    picked = 0
    for index, stamp in enumerate(stamps.tolist()):
        frame_rng = np.random.default_rng((noise_seed, index))
        rgb, depth_m, label = scene.render(stamp, width, height)
        if scene.asked == "any" and not picked:
            picked = int(np.random.default_rng(noise_seed).integers(1, max(int(label.max()), 1) + 1))
        label, mask = asked_mask(scene, label, stamp, picked)
        depth = sense(depth_m, sensor, frame_rng, scene.focal_ratio * width)
        focal_px = scene.focal_ratio * width
        yield SynthFrame(expose(rgb, lens, stamp, frame_rng), depth, mask, label, stamp, focal_px)


def asked_mask(
    scene: Scene, label: npt.NDArray[np.uint8], stamp: float, picked: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """What the picture alone would mark (label, as `SynthFrame`), and what is asked for (mask, 0 or 255).

    Args:
        scene: see `Scene.asked`.
        label (H, W): from `Scene.render`.
        stamp: time in the clip. Seconds.
        picked: the thing that "any" means.
    """
    if scene.asked == "any":
        return label, np.asarray((label == picked) * 255, np.uint8)
    if scene.asked == "first":
        if stamp < scene.until_s:
            return label, np.asarray((label == 1) * 255, np.uint8)
        label = np.where(label == 1, 0, label).astype(np.uint8)
    return label, np.asarray((label > 0) * 255, np.uint8)


def write_clip(
    out_dir: Path | str, seed: int, frames: int, height: int = 480, width: int = 640, fps: float = 15.0
) -> Path:
    """Write a clip as rgb/, depth/ and mask/ PNG files with equal stems, and video.yaml.

    Args:
        out_dir: folder to create.
        seed: see `generate_clip`.
        frames: see `generate_clip`.
        height: see `generate_clip`.
        width: see `generate_clip`.
        fps: see `generate_clip`.

    Returns:
        The folder.
    """
    folder = Path(out_dir)
    for name in ("rgb", "depth", "mask"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(generate_clip(seed, frames, height, width, fps)):
        for name, image in (("rgb", frame.rgb[..., ::-1]), ("depth", frame.depth), ("mask", frame.mask)):
            path = folder / name / f"{index:05d}.png"
            if not cv2.imwrite(str(path), image):
                raise InputError(f"{path}: expected a writable file, the write failed; check space and permissions")
    source = f"generated by m4sam_training.synth, seed {seed}"
    k = [frame.focal_px, 0.0, width / 2, 0.0, frame.focal_px, height / 2, 0.0, 0.0, 1.0]
    intrinsics = {"width": width, "height": height, "k": k, "d": [], "distortion_model": "plumb_bob"}
    values = {"fps": fps, "depth_unit_m": DEFAULT_UNIT_M, "source": source, "intrinsics": intrinsics}
    write_video_yaml(folder / VIDEO_YAML, values)
    return folder
