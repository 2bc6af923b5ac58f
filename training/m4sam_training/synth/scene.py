# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A room with objects, drawn once and rendered at any time of its clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_training.synth.geometry import Canvas, Motion, Pose, Surface, Vector, Wobble
from m4sam_training.synth.models.people import PersonBody
from m4sam_training.synth.models.robots import Hand
from m4sam_training.synth.sensor import SensorKind
from m4sam_training.synth.solids import Mesh, Solid
from m4sam_training.synth.sprites import SPRITE_PX, Sprite
from m4sam_training.synth.texture import FloatImage

ByteImage = npt.NDArray[np.uint8]
Body = Sprite | Solid
Asked = Literal["all", "first", "any"]


@dataclass(frozen=True)
class SceneStyle:
    """What scenes are made of.

    Attributes:
        photos: RGB photographs (H, W, 3) uint8 for walls, tables and labels; may be empty.
        backdrops: photographs without a subject of their own, to stand for the whole room; may be empty.
        cutouts: RGBA pictures (S, S, 4) uint8 of single objects; may be empty.
        photo_share: chance that a surface or a procedural object wears a photograph.
        cutout_share: chance that an object is a cut-out.
        meshes: scanned or modelled meshes for solid objects; with none, their shapes are made up.
        solid_share: chance that an object is a mesh that turns in space, instead of a picture.
        backdrop_share: chance that the room is a photograph instead of built.
        arm_share: chance that an arm reaches for an object.
        distractors: most objects that are in view without being salient.
        border_share: chance of near clutter that the image border cuts off, which is not salient either.
        pale_share: chance that such clutter is white or light grey.
        camera_motion: 1 is a hand-held robot arm, 0 a tripod.
        sensors: depth cameras to draw from.
        people: bodies to dress (`people.load_people`); may be empty.
        hands: gripper meshes (`robots.load_hands`); made-up ones without.
        stills: RGBA pictures (S, S, 4) uint8 of real objects, cut out of photographs; may be empty.
        clutter: photographs full of things of which none is salient, to stand behind; may be empty.
    """

    photos: Sequence[ByteImage] = ()
    backdrops: Sequence[ByteImage] = ()
    cutouts: Sequence[ByteImage] = ()
    photo_share: float = 0.5
    cutout_share: float = 0.7
    meshes: Sequence[Mesh] = ()
    solid_share: float = 0.0
    backdrop_share: float = 0.3
    arm_share: float = 0.15
    distractors: int = 6
    border_share: float = 0.3
    pale_share: float = 0.0
    camera_motion: float = 1.0
    sensors: tuple[SensorKind, ...] = ("structured_light", "stereo", "tof")
    people: Sequence[PersonBody] = ()
    hands: Sequence[Hand] = ()
    stills: Sequence[ByteImage] = ()
    clutter: Sequence[ByteImage] = ()


@dataclass(frozen=True)
class Thing:
    """An object in the scene.

    Attributes:
        body: a picture with relief that faces the camera, or a mesh.
        position (3,): its centre at rest. Metres.
        width_m: side of the picture; longest side of the mesh.
        path: motion of the centre.
        swing: (in-plane rotation, relative width) of a picture over time.
        salient: whether it belongs to the mask.
        grounded: whether it throws a contact shadow.
    """

    body: Body
    position: Vector
    width_m: float
    path: Motion
    swing: Wobble
    salient: bool
    grounded: bool = True


@dataclass
class Scene:
    """Everything that stays the same during a clip.

    Attributes:
        surfaces: planes of the room.
        things: objects in it.
        camera_path, camera_turn: motion of the camera.
        pitch: how far it looks down. Radians.
        focal_ratio: focal length over the picture's width.
        shadow: strength of contact shadows.
        asked: which salient things the mask holds. "all"; "first": the first of them, which the clip's beginning
            tells from the others; "any": one that nothing but a given mask tells from the others.
        until_s: from then on "first" means all salient things but the first, which has left or been outshone.
    """

    surfaces: list[Surface]
    things: list[Thing]
    camera_path: Wobble
    camera_turn: Wobble
    pitch: float
    focal_ratio: float
    shadow: float
    asked: Asked = "all"
    until_s: float = np.inf

    def pose(self, time_s: float, width: int, height: int) -> Pose:
        """Camera at a time."""
        angles = np.array([self.pitch, 0.0, 0.0]) + self.camera_turn.at(time_s)
        return Pose.look(self.camera_path.at(time_s), angles, self.focal_ratio * width, width, height)

    def render(self, time_s: float, width: int, height: int) -> tuple[FloatImage, FloatImage, ByteImage]:
        """Ideal camera: rgb (H, W, 3) float32 0..255, depth (H, W) float32 metres, label (H, W) uint8.

        The label is 0 on what is not salient and otherwise counts the salient things from 1, in their order.
        """
        canvas = self.draw(time_s, width, height)
        salient = np.array([0] + [thing.salient for thing in self.things])
        return canvas.rgb, canvas.depth, (np.cumsum(salient) * salient).astype(np.uint8)[canvas.owner]

    def draw(self, time_s: float, width: int, height: int) -> Canvas:
        """Everything that an ideal camera sees; the canvas's owner numbers `things` from 1."""
        canvas = Canvas(self.pose(time_s, width, height))
        for surface in self.surfaces:
            canvas.draw_surface(surface)
        spots = [
            (
                thing.position + thing.path.at(time_s) + np.array([0, thing.width_m * thing.body.foot, 0.02]),
                thing.width_m * 0.4,
            )
            for thing in self.things
            if thing.grounded
        ]
        canvas.darken(spots, self.shadow)
        for number, thing in enumerate(self.things, start=1):
            if isinstance(thing.body, Solid):
                thing.body.draw(canvas, thing.position + thing.path.at(time_s), thing.width_m, number, time_s)
            else:
                _draw_sprite(canvas, thing, thing.body, number, time_s)
        return canvas


def _draw_sprite(canvas: Canvas, thing: Thing, sprite: Sprite, number: int, time_s: float) -> None:
    column, row, depth = canvas.pose.project(thing.position + thing.path.at(time_s))
    if depth < 0.2:
        return
    turn, stretch = thing.swing.at(time_s)
    side_px = canvas.pose.focal_px * thing.width_m / depth
    scale = side_px / SPRITE_PX
    reach = int(side_px * 0.75) + 2
    left, right = max(0, int(column) - reach), min(canvas.pose.width, int(column) + reach)
    top, bottom = max(0, int(row) - reach), min(canvas.pose.height, int(row) + reach)
    if right - left < 2 or bottom - top < 2:
        return
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    matrix = np.array([[cos * (1 + stretch), -sin, 0.0], [sin * (1 + stretch), cos, 0.0]])
    matrix[:, 2] = np.array([column - left, row - top]) - matrix[:, :2] @ np.full(2, SPRITE_PX / 2)
    size = (right - left, bottom - top)
    rgb, alpha, relief = sprite.rgb, sprite.alpha, sprite.relief
    if scale < 0.5:
        kernel = int(0.5 / scale) * 2 + 1
        rgb, alpha = cv2.blur(rgb, (kernel, kernel)), cv2.blur(alpha, (kernel, kernel))
    rgb = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR)
    relief = cv2.warpAffine(relief, matrix, size, flags=cv2.INTER_LINEAR)
    near = (depth - relief * thing.width_m).astype(np.float32)
    window = (slice(top, bottom), slice(left, right))
    alpha = alpha * (near < canvas.depth[window])
    solid = alpha > 0.5
    canvas.rgb[window] += (rgb - canvas.rgb[window]) * alpha[..., None]
    canvas.depth[window] = np.where(solid, near, canvas.depth[window])
    canvas.owner[window] = np.where(solid, number, canvas.owner[window])
