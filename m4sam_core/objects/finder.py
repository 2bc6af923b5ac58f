# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From a stream of masks to objects: what a frame's mask and depth show, with identity over time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.objects.attention import Attention
from m4sam_core.objects.camera import CameraModel
from m4sam_core.objects.config import ObjectsConfig
from m4sam_core.objects.depth import DepthSteadiness
from m4sam_core.objects.identity.touching import Claim, Look, shared_out
from m4sam_core.objects.identity.track import Track
from m4sam_core.objects.identity.tracker import Tracker
from m4sam_core.objects.regions import find_regions, grid_step
from m4sam_core.objects.seen import FrameView, Seen
from m4sam_core.objects.things import SALIENT_ABOVE, Thing, cut_things, whole
from m4sam_core.objects.types import SceneObjects

MOST_OBJECTS = 255


class ObjectFinder:
    """The objects of one camera's stream, frame by frame. Not for several threads at a time.

    Example:
        >>> finder = ObjectFinder()
        >>> result = pipeline.process(rgb, depth_mm, stamp=0.0)
        >>> camera = CameraModel.from_info(640, 480, k)
        >>> doubt = result.depth_doubt
        >>> found = finder.update(result.mask, result.probability, depth_mm, 0.0, camera=camera, depth_doubt=doubt)
        >>> found.main.centroid_m
    """

    def __init__(self, cfg: ObjectsConfig | None = None) -> None:
        self._cfg = cfg or ObjectsConfig()
        self._tracker = Tracker(self._cfg.remember_s)
        self._attention = Attention(self._cfg.main_ratio, self._cfg.main_frames)
        self._steadiness = DepthSteadiness()
        self._looks: dict[int, Look] = {}
        self._scene_id: int | None = None
        self._stamp_s = float("-inf")

    def configure(self, cfg: ObjectsConfig) -> None:
        """Change settings from the next frame on."""
        self._cfg = cfg
        self._tracker.remember_s = cfg.remember_s
        self._attention.ratio, self._attention.frames = cfg.main_ratio, cfg.main_frames

    def number_after(self, last_id: int) -> None:
        """Go on with a stream of which earlier scenes are done: new ids follow the last one given there."""
        self._tracker.number_after(last_id)

    def update(
        self,
        mask: NDArray[np.uint8],
        probability: NDArray[np.float32] | None,
        depth: NDArray[Any] | None,
        stamp_s: float,
        *,
        scene_id: int = 0,
        camera: CameraModel | None = None,
        depth_camera: CameraModel | None = None,
        unit_m: float = 0.001,
        rgb: NDArray[np.uint8] | None = None,
        depth_doubt: str | None = None,
    ) -> SceneObjects:
        """The objects of the next frame. Whatever is missing costs positions, never the frame.

        Args:
            mask (H, W): uint8, salient where > 127.
            probability (H, W): float32 in [0, 1]; None takes the mask for it.
            depth (h, w): registered to the mask's image: uint16 counts of `unit_m`, or float metres; None without.
            stamp_s: time of the frame. Seconds.
            scene_id: of the stream's scene; ids end with it.
            camera: of the mask's image, at any resolution; None: no positions.
            depth_camera: of `depth`, when it has intrinsics of its own; None: those of `camera`, scaled.
            unit_m: of a count. Metres.
            rgb (H, W, 3): uint8, tells things apart that cross; None does without.
            depth_doubt: `SaliencyResult.depth_doubt`: why the readings are not to be believed; they are left out then.

        Raises:
            InputError: the mask is no 8-bit image.
        """
        believed = depth if depth_doubt is None else None
        view, note = FrameView.of(mask, probability, believed, unit_m, camera, depth_camera, rgb)
        return self.look(mask, view, depth_doubt or note, stamp_s, scene_id)

    def look(
        self, mask: NDArray[np.uint8], view: FrameView, note: str | None, stamp_s: float, scene_id: int
    ) -> SceneObjects:
        """The same for a frame whose images are together already; see `FrameView.of`."""
        self._follow_scene(scene_id, stamp_s)
        step = grid_step(*view.shape)
        depth_m = view.grid_m
        if depth_m is not None and not self._steadiness.update(depth_m, stamp_s):
            view, note = replace(view, depth=None), note or DepthSteadiness.NOTE
        regions = find_regions(mask[::step, ::step] > SALIENT_ABOVE, depth_m, self._cfg.depth_gap_m)
        things = cut_things(mask, regions, step, self._least_px(view), MOST_OBJECTS)
        found = [
            (item, track, view.score(item.thing))
            for item, track in self._tracked([view.see(thing) for thing in things], view, stamp_s)
        ]
        main = self._attention.update({track.id: score * item.thing.area_px**0.5 for item, track, score in found})
        labels = np.zeros(mask.shape, np.uint16)
        for item, track, _ in found:
            # Things share no pixel; picking theirs out one by one would take five times as long.
            place = labels[item.thing.window]
            place |= item.thing.inside.view(np.uint8) * np.uint16(track.id)
        objects = (view.identified(item, track, score, is_main=track.id == main) for item, track, score in found)
        return SceneObjects(tuple(objects), labels, scene_id, note)

    def _tracked(self, seen: list[Seen], view: FrameView, stamp_s: float) -> list[tuple[Seen, Track]]:
        """Whole things with their tracks; without those beyond the last id."""

        def connected(one: int, other: int) -> bool:
            return view.connected(seen[one], seen[other], self._cfg.depth_gap_m)

        sightings = [item.sighting for item in seen]
        matched = self._tracker.match(sightings, stamp_s, connected)
        touching = self._tracker.touching(matched, sightings, stamp_s)
        parts: dict[int, list[Seen]] = {}
        tracks: dict[int, Track | None] = {}
        for index, (item, track) in enumerate(zip(seen, matched, strict=True)):
            if index in touching:
                shares = self._shared_out(item.thing, touching[index], view, stamp_s)
            else:
                shares = [(item, track)]
            for share, owner in shares:
                key = -1 - index if owner is None else owner.id
                parts.setdefault(key, []).append(share)
                tracks[key] = owner
        things = [
            found[0] if len(found) == 1 else view.see(whole([part.thing for part in found])) for found in parts.values()
        ]
        followed = self._tracker.follow(
            list(tracks.values()), [item.sighting for item in things], stamp_s, view.near_px
        )
        known = [(item, track) for item, track in zip(things, followed, strict=True) if track is not None]
        self._looks = {track.id: Look.of(item.thing, view.rgb, self._looks.get(track.id)) for item, track in known}
        return sorted(known, key=lambda pair: -pair[0].thing.area_px)

    def _shared_out(
        self, patch: Thing, tracks: list[Track], view: FrameView, stamp_s: float
    ) -> list[tuple[Seen, Track | None]]:
        """A patch of several known things, told apart by where and what they were."""
        claims = []
        for track in tracks:
            across, down = np.rint(track.expected(stamp_s) - track.centre).astype(int)
            claims.append(Claim(self._looks[track.id], (int(across), int(down))))
        shares = shared_out(patch, claims, view.rgb, self._least_px(view))
        return [(view.see(share), track) for share, track in zip(shares, tracks, strict=True) if share is not None]

    def _least_px(self, view: FrameView) -> float:
        return max(1.0, self._cfg.min_area * view.shape[0] * view.shape[1])

    def _follow_scene(self, scene_id: int, stamp_s: float) -> None:
        if scene_id != self._scene_id or stamp_s < self._stamp_s:
            self._tracker.begin_scene()
            self._attention.begin_scene()
            self._looks = {}
            self._steadiness = DepthSteadiness()
        self._scene_id, self._stamp_s = scene_id, stamp_s
