# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What one frame offers to look at, and what is seen of a thing in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError
from m4sam_core.objects.camera import CameraModel, FloatArray
from m4sam_core.objects.identity.track import Sighting, Track
from m4sam_core.objects.regions import BRIDGE_KNOWN, BRIDGE_NEARER, gap_at, grid_step
from m4sam_core.objects.registered import RegisteredDepth
from m4sam_core.objects.surface import Surface, locate
from m4sam_core.objects.things import Thing
from m4sam_core.objects.types import SceneObject
from m4sam_core.rgbd.depth_values import doubtful_unit

_STEP = 8  # pixels of a depth map among which one is looked at to tell its unit
_NEAR = 0.02  # of the image's longer side: a mask may lose so much between two parts of a thing


@dataclass(frozen=True)
class Seen:
    """A thing in a frame.

    Attributes:
        thing: its pixels.
        surface: its position, None without.
        sighting: what the tracker compares.
    """

    thing: Thing
    surface: Surface | None
    sighting: Sighting


@dataclass(frozen=True)
class FrameView:
    """A frame's images.

    Attributes:
        shape: rows and columns of the mask.
        depth: registered depth, None without.
        camera: of the mask's image, at its size; None without.
        rgb (H, W, 3): uint8, None without.
        probability (H, W): float32, None without.
    """

    shape: tuple[int, int]
    depth: RegisteredDepth | None
    camera: CameraModel | None
    rgb: NDArray[np.uint8] | None
    probability: NDArray[np.float32] | None

    @classmethod
    def of(
        cls,
        mask: NDArray[np.uint8],
        probability: NDArray[np.float32] | None,
        depth: NDArray[Any] | None,
        unit_m: float,
        camera: CameraModel | None,
        depth_camera: CameraModel | None,
        rgb: NDArray[np.uint8] | None,
    ) -> tuple[FrameView, str | None]:
        """What of these can be used, and why objects will have no position, None when they can have one.

        Raises:
            InputError: the mask is no 8-bit image.
        """
        if mask.ndim != 2 or mask.dtype != np.uint8 or 0 in mask.shape:
            raise InputError(f"objects mask: expected uint8 (H, W), got {mask.dtype} {mask.shape}; give 0 and 255")
        height, width = mask.shape
        note = None
        if camera is None:
            note = "no camera_info: objects have no position without the camera's intrinsics"
        elif not camera.same_shape(width, height):
            note = f"camera_info: expected that of a {width}x{height} image, got {camera.width}x{camera.height}"
            camera = None
        registered, problem = RegisteredDepth.of(depth, unit_m, (height, width), camera, depth_camera)
        doubt = None if registered is None else doubtful_unit(registered.depth[::_STEP, ::_STEP], unit_m)
        if doubt is not None:
            registered, problem = None, f"{doubt}; objects have no position"
        usable = rgb if rgb is not None and rgb.shape[:2] == mask.shape else None
        scaled = None if camera is None else camera.resized(width, height)
        return cls((height, width), registered, scaled, usable, probability), note or problem

    def see(self, thing: Thing) -> Seen:
        """What is seen of a thing."""
        surface = None
        if self.depth is not None and self.camera is not None:
            inside, window, step = thing.sampled(), thing.sampling, thing.step
            if not inside.any():  # finer than the sampling
                inside, window, step = thing.inside, thing.window, 1
            surface = locate(inside, self.depth.sample(window, step), self.camera.rays(window, step))
        colour = None
        if self.rgb is not None:
            red, green, blue = thing.mean_of(self.rgb) / 255
            colour = (float(red), float(green), float(blue))
        centroid = None if surface is None else surface.centroid
        return Seen(thing, surface, Sighting(thing.box_px, thing.centre_px, thing.area_px, centroid, colour))

    @cached_property
    def grid_m(self) -> FloatArray | None:
        """Metres on the grid of `grid_step`, 0 without a reading; None without depth."""
        whole = (slice(0, self.shape[0]), slice(0, self.shape[1]))
        return None if self.depth is None else self.depth.sample(whole, grid_step(*self.shape))

    @property
    def near_px(self) -> float:
        """How far apart two parts of one thing may seem. Pixels."""
        return _NEAR * max(self.shape)

    def connected(self, one: Seen, other: Seen, gap_m: float) -> bool:
        """Whether what lies between two things' middles lets them be parts of one: next to nothing, or what hides it.

        Args:
            one: seen in this frame.
            other: likewise.
            gap_m: see `m4sam_core.objects.regions.gap_at`.
        """
        ends = np.array([one.thing.centre_px, other.thing.centre_px])
        steps = max(2, int(np.abs(ends[1] - ends[0]).max()) + 1)
        columns, rows = np.rint(np.linspace(ends[0], ends[1], steps)).astype(np.intp).T
        between = ~(one.thing.holds(rows, columns) | other.thing.holds(rows, columns))
        if np.count_nonzero(between) * np.linalg.norm(ends[1] - ends[0]) / (steps - 1) <= self.near_px:
            return True
        if self.grid_m is None or one.surface is None or other.surface is None:
            return False
        grid = grid_step(*self.shape)
        readings = self.grid_m[rows[between] // grid, columns[between] // grid]
        known = readings[readings > 0]
        deep = np.asarray(min(one.surface.centroid[2], other.surface.centroid[2]), np.float32)
        nearer = np.count_nonzero(known < deep - gap_at(deep, gap_m) / 2)
        return bool(len(known) > BRIDGE_KNOWN * len(readings) and nearer >= BRIDGE_NEARER * len(known))

    def score(self, thing: Thing) -> float:
        """Mean probability over a thing; a mask alone is sure of its pixels."""
        if self.probability is None:
            return 1.0
        return float(np.clip(np.nan_to_num(thing.mean_of(self.probability)), 0, 1))

    def identified(self, seen: Seen, track: Track, score: float, *, is_main: bool) -> SceneObject:
        """A thing with its identity."""
        thing, surface = seen.thing, seen.surface
        return SceneObject(
            id=track.id,
            score=score,
            area_px=thing.area_px,
            box_px=thing.box_px,
            centre_px=thing.centre_px,
            truncated=thing.touches_border(self.shape),
            age_s=track.last_s - track.first_s,
            age_frames=track.frames,
            visibility=track.visibility,
            is_main=is_main,
            centroid_m=None if surface is None else surface.centroid,
            distance_m=None if surface is None else float(np.linalg.norm(surface.centroid)),
            box=None if surface is None else surface.box,
            depth_share=0.0 if surface is None else surface.share,
            depth_range_m=None if surface is None else surface.depth_range,
        )
