# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What drives in a street: cars, vans, lorries and buses with windows and wheels; bicycles and motorcycles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m4sam_training.synth.geometry import Vector
from m4sam_training.synth.models.kit import Kit
from m4sam_training.synth.solids import Mesh
from m4sam_training.synth.texture import FloatImage, random_colour

# Sides of bodies, (along, up) with the front at 1: lower edge, bonnet, screen, roof, tail. Up in shares of the height.
_SIDES: dict[str, tuple[tuple[float, float], ...]] = {
    "saloon": ((0, 0.12), (1, 0.12), (1, 0.5), (0.72, 0.6), (0.56, 1), (0.28, 1), (0.12, 0.66), (0, 0.6)),
    "hatchback": ((0, 0.12), (1, 0.12), (1, 0.5), (0.76, 0.62), (0.58, 1), (0.1, 0.98), (0, 0.6)),
    "van": ((0, 0.1), (1, 0.1), (1, 0.42), (0.9, 0.5), (0.74, 1), (0.02, 1), (0, 0.95)),
    "bus": ((0, 0.08), (1, 0.08), (1, 0.4), (0.97, 1), (0.01, 1), (0, 0.95)),
    "pickup": ((0, 0.14), (1, 0.14), (1, 0.55), (0.74, 0.64), (0.62, 1), (0.4, 1), (0.36, 0.62), (0, 0.62)),
}
_SHAPES = {
    "saloon": (0.3, 0.42),
    "hatchback": (0.36, 0.46),
    "van": (0.4, 0.42),
    "bus": (0.28, 0.26),
    "pickup": (0.34, 0.4),
}
_SHARES = {"saloon": 0.25, "hatchback": 0.25, "van": 0.15, "bus": 0.2, "pickup": 0.05, "lorry": 0.1}
_GLASS, _TYRE, _METAL = (0.16, 0.19, 0.22), (0.09, 0.09, 0.1), (0.6, 0.6, 0.62)
_LAMPS = ((0.95, 0.93, 0.85), (0.75, 0.08, 0.06))


def random_vehicle(rng: np.random.Generator, vivid: float) -> Mesh:
    """A car, van, lorry or bus along x, with tints for a white texture.

    Args:
        rng: source of randomness.
        vivid: see `random_colour`; of the paint. A third are white, grey or black whatever it is.
    """
    kit, paint = Kit(), _paint(rng, vivid)
    kind = str(rng.choice(list(_SHARES), p=list(_SHARES.values())))
    if kind == "lorry":
        _lorry(kit, rng, paint)
        return kit.mesh()
    tall, wide = (value * rng.uniform(0.9, 1.12) for value in _SHAPES[kind])
    side = np.array(_SIDES[kind]) * [1.0, -tall] + rng.normal(0, 0.008, (len(_SIDES[kind]), 2))
    _body(kit, side, tall, wide / 2, paint, belt=0.3 if kind == "bus" else 0.6)
    second = paint if rng.random() < 0.7 else _paint(rng, vivid)
    if kind == "bus" or rng.random() < 0.3:  # a stripe along the lower edge
        kit.box((0.98, tall * 0.12, wide * 1.01), (0.5, -tall * 0.2, 0.0), second)
    _windows(kit, _rounded(side), tall, wide, kind)
    _wheels(kit, rng, tall, wide, (0.16, 0.84) if kind == "bus" else (0.18, 0.8))
    _lamps(kit, tall, wide)
    return kit.mesh()


def random_cycle(rng: np.random.Generator, vivid: float) -> Mesh:
    """A bicycle or a motorcycle along x, with tints for a white texture; see `random_vehicle`."""
    kit, paint = Kit(), _paint(rng, vivid)
    motor = rng.random() < 0.4
    radius, thick = rng.uniform(0.17, 0.2), (0.045 if motor else 0.014)
    rear, front = np.array([radius, -radius, 0.0]), np.array([1 - radius, -radius, 0.0])
    for hub in (rear, front):
        kit.ring(hub, radius, thick, _TYRE)
        for angle in np.arange(0, np.pi, np.pi / (2 if motor else 6)):
            spoke = radius * np.array([np.cos(angle), np.sin(angle), 0.0])
            kit.rod(hub - spoke, hub + spoke, 0.012 if motor else 0.004, _METAL)
    bar = 0.03 if motor else 0.014
    crank, seat, head = np.array([0.46, -radius, 0.0]), np.array([0.38, -0.5, 0.0]), np.array([0.72, -0.52, 0.0])
    for start, end in ((rear, crank), (crank, seat), (rear, seat), (seat, head), (crank, head), (head, front)):
        kit.rod(start, end, bar, paint)
    grip, across = head + np.array([-0.04, -0.1, 0.0]), np.array([0.0, 0.0, 0.14])
    kit.rod(head, grip, bar, _METAL)
    kit.rod(grip - across, grip + across, bar * 0.8, _TYRE)
    kit.box((0.3 if motor else 0.14, 0.05, 0.12 if motor else 0.07), (0.36, -0.53, 0.0), _TYRE)
    if motor:
        for size, place, colour in (
            ((0.14, 0.08, 0.1), (0.58, -0.52, 0.0), paint), ((0.14, 0.12, 0.1), (0.5, -0.28, 0.0), _METAL),
            ((0.1, 0.12, 0.08), (0.76, -0.48, 0.0), paint), ((0.16, 0.05, 0.08), (0.24, -0.46, 0.0), paint),
        ):  # fmt: skip
            kit.ball(size, place, colour)
    return kit.mesh()


def _paint(rng: np.random.Generator, vivid: float) -> FloatImage:
    if rng.random() < 0.35:
        return np.full(3, float(rng.choice([0.95, 0.9, 0.6, 0.4, 0.15, 0.08])), np.float32)
    return random_colour(rng, vivid) / np.float32(255) * np.float32(rng.uniform(0.5, 1.0))


def _rounded(side: Vector) -> Vector:
    """Corners cut, twice (Chaikin)."""
    for _ in range(2):
        after = np.roll(side, -1, axis=0)
        side = np.stack([0.82 * side + 0.18 * after, 0.18 * side + 0.82 * after], axis=1).reshape(-1, 2)
    return side


def _half(side: Vector, tall: float, half: float, belt: float) -> Vector:
    """Half widths (N,): straight up to the belt, then narrower."""
    above = np.clip((-side[:, 1] / tall - belt) / (1 - belt), 0, 1)
    return np.asarray(half * (1 - 0.16 * above * (belt > 0.5)), np.float64)


def _body(kit: Kit, side: Vector, tall: float, half: float, paint: npt.ArrayLike, belt: float) -> None:
    smooth = _rounded(side)
    kit.prism(smooth, _half(smooth, tall, half, belt), paint)


def _windows(kit: Kit, side: Vector, tall: float, wide: float, kind: str) -> None:
    """Panes along both sides, the wind screen and the rear one: dark bodies that stand out by a hair."""
    low, high = (0.45, 0.9) if kind == "bus" else (0.64, 0.93)
    rows = -np.array([low, high]) * tall
    ends = [_reach(side, row) for row in rows]
    left, right = (np.array([end[place] for end in ends]) for place in (0, 1))
    panes = {"bus": 7, "van": 1, "pickup": 1}.get(kind, 2)
    begin = 0.62 if kind == "van" else 0.03
    for pane in range(panes):
        from_, to = begin + (0.97 - begin) * (pane + 0.04) / panes, begin + (0.97 - begin) * (pane + 0.96) / panes
        corner = [left + (right - left) * share for share in (from_, to)]
        shape = np.array(
            [[corner[0][0], rows[0]], [corner[1][0], rows[0]], [corner[1][1], rows[1]], [corner[0][1], rows[1]]]
        )
        kit.prism(shape, _half(shape, tall, wide / 2, 0.3 if kind == "bus" else 0.6) + 0.004, _GLASS)
    for ends_, way in ((right, 0.008), (left, -0.008)):
        if kind in ("van", "pickup") and way < 0:
            continue
        thin = np.array(
            [
                [ends_[0] - 0.03, rows[0]],
                [ends_[0] + way, rows[0]],
                [ends_[1] + way, rows[1]],
                [ends_[1] - 0.03, rows[1]],
            ]
        )
        kit.prism(thin, np.array([0.43, 0.43, 0.36, 0.36]) * wide, _GLASS)


def _reach(side: Vector, row: float) -> tuple[float, float]:
    """Where the outline crosses a height: least and most along."""
    start, end = side, np.roll(side, -1, axis=0)
    crosses = (start[:, 1] - row) * (end[:, 1] - row) <= 0
    drop = np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    along = (start[:, 0] + (row - start[:, 1]) / drop * (end[:, 0] - start[:, 0]))[crosses]
    return float(along.min()), float(along.max())


def _wheels(kit: Kit, rng: np.random.Generator, tall: float, wide: float, places: tuple[float, ...]) -> None:
    radius = float(np.clip(0.19 * tall * rng.uniform(0.95, 1.2), 0.045, 0.085))
    for along in places:
        for side in (-1.0, 1.0):
            middle = np.array([along, -radius * 0.85, side * wide * 0.42])
            out = np.array([0.0, 0.0, side * wide * 0.095])
            kit.rod(middle - out, middle + out, radius, _TYRE)
            kit.rod(middle, middle + out * 1.1, radius * 0.6, _METAL)


def _lamps(kit: Kit, tall: float, wide: float) -> None:
    for along, colour in ((0.99, _LAMPS[0]), (0.005, _LAMPS[1])):
        for side in (-1.0, 1.0):
            kit.box((0.03, tall * 0.09, wide * 0.16), (along, -tall * 0.46, side * wide * 0.38), colour)


def _lorry(kit: Kit, rng: np.random.Generator, paint: npt.ArrayLike) -> None:
    """A cab and a box, a tank or a flat bed behind it."""
    tall, wide = rng.uniform(0.3, 0.42), rng.uniform(0.26, 0.34)
    cab, load = rng.uniform(0.2, 0.28), _paint(rng, 0.6)
    side = np.array([[1 - cab, 0.1], [1, 0.1], [1, 0.5], [0.97, 0.9], [1 - cab, 0.9]]) * [1.0, -tall]
    _body(kit, side, tall, wide / 2, paint, belt=0.3)
    kit.box((cab * 0.5, tall * 0.26, wide * 1.01), (1 - cab * 0.45, -tall * 0.66, 0.0), _GLASS)
    kit.box((0.02, tall * 0.28, wide * 0.86), (0.985, -tall * 0.68, 0.0), _GLASS)
    kit.box((0.98, tall * 0.1, wide * 0.7), (0.5, -tall * 0.2, 0.0), _TYRE)
    back, draw = 1 - cab - 0.02, rng.random()
    if draw < 0.7:
        kit.box((back, tall * 0.78, wide), (back / 2, -tall * 0.64, 0.0), load)
    elif draw < 0.85:
        kit.rod([0.0, -tall * 0.55, 0.0], [back, -tall * 0.55, 0.0], wide / 2, load)
    else:
        kit.box((back, tall * 0.16, wide), (back / 2, -tall * 0.32, 0.0), load)
    _wheels(kit, rng, tall, wide, (0.12, 0.26, 0.86))
    _lamps(kit, tall, wide)


def lean(rng: np.random.Generator) -> Vector:
    """Yaw, pitch and roll (3,) of something on wheels: any way round, most often from the side."""
    side = rng.choice([0.0, np.pi]) + rng.normal(0, 0.45)
    return np.array([side if rng.random() < 0.7 else rng.uniform(-np.pi, np.pi), 0.0, rng.normal(0, 0.01)])
