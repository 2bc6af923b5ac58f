# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A camera's geometry: which ray every pixel looks along, lens included.

Follows sensor_msgs/CameraInfo. Nothing here pretends that a lens is a pinhole: a distortion that cannot be undone is an
error, and pixels outside the range in which it can be undone have no ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import InputError

FloatArray = NDArray[np.float32]
Sample = TypeVar("Sample", bound=np.generic)

#: Number of coefficients OpenCV takes, by what CameraInfo calls the model.
LENS_MODELS: dict[str, tuple[int, ...]] = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8,),
    "thin_prism_fisheye": (12,),
    "equidistant": (4,),
    "fisheye": (4,),
    "kannala_brandt4": (4,),
}
_FISHEYE = ("equidistant", "fisheye", "kannala_brandt4")
_NODE_STEP_PX = 4  # a lens is smooth: its rays are computed on this grid and interpolated between
# OpenCV's own five rounds leave half a pixel.
_INVERSION = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-3)
_REPROJECTION_PX = 1.0  # OpenCV's inversion diverges beyond a lens's range; a ray must lead back to its pixel
_WIDEST_SLOPE = 20.0  # 87 degrees off the axis; beyond it a ray says nothing


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics of one image.

    Attributes:
        width: columns of the image. Pixels.
        height: rows of the image. Pixels.
        fx, fy: focal lengths. Pixels.
        cx, cy: principal point. Pixels, the centre of the first pixel is 0.
        distortion: OpenCV's coefficients; empty for a pinhole.
        fisheye: the coefficients are those of the equidistant model.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    fisheye: bool = False

    @classmethod
    def from_info(
        cls,
        width: int,
        height: int,
        k: Sequence[float],
        d: Sequence[float] = (),
        model: str = "plumb_bob",
        p: Sequence[float] | None = None,
    ) -> CameraModel:
        """The fields of a CameraInfo.

        Args:
            width: columns that the calibration belongs to. Pixels.
            height: rows. Pixels.
            k: 3x3 intrinsics, row-major.
            d: distortion; all zero means none.
            model: its name.
            p: 3x4 projection; when given, the image is rectified and `p` describes it instead of `k` and `d`.

        Raises:
            InputError: the camera is not calibrated, or with a lens that is not known here.
        """
        matrix = np.asarray(k if p is None else p, np.float64).reshape(3, -1)
        fx, fy, cx, cy = (float(matrix[row, column]) for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)))
        if width < 1 or height < 1 or not np.isfinite([fx, fy, cx, cy]).all() or min(fx, fy) <= 0:
            raise InputError(
                f"camera_info: expected a calibrated camera (focal lengths above 0), got {width}x{height} with "
                f"fx {fx:g}, fy {fy:g}; calibrate it, or make the driver fill in its calibration"
            )
        if cx == 0 and cy == 0:
            raise InputError(
                f"camera_info: expected a principal point inside the {width}x{height} image, got 0, 0, which was never "
                "filled in; calibrate the camera, or make the driver fill in its calibration"
            )
        coefficients = tuple(float(value) for value in d)
        if p is not None or not any(coefficients):
            return cls(width, height, fx, fy, cx, cy)
        if len(coefficients) not in LENS_MODELS.get(model, ()) or not np.isfinite(coefficients).all():
            known = ", ".join(LENS_MODELS)
            raise InputError(
                f"camera_info distortion: expected one of {known} with finite coefficients, got {model!r} with "
                f"{len(coefficients)}; subscribe to rectified images instead"
            )
        return cls(width, height, fx, fy, cx, cy, coefficients, model in _FISHEYE)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) intrinsics."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    def resized(self, width: int, height: int) -> CameraModel:
        """The same camera with its image scaled to another size. Pixels."""
        if (width, height) == (self.width, self.height):
            return self
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def same_shape(self, width: int, height: int) -> bool:
        """Whether an image of that size can be this camera's, scaled: the ratio of its sides agrees to a pixel."""
        return abs(width * self.height / self.width - height) <= 1.0

    def same_view(self, other: CameraModel) -> bool:
        """Whether another camera of the same place sees everything at the same pixel, to half of one."""
        if (self.width, self.height, self.distortion, self.fisheye) != (
            other.width, other.height, other.distortion, other.fisheye,
        ):  # fmt: skip
            return False
        corners = np.array([[0, 0], [self.width - 1, self.height - 1]], np.float64)
        slopes = (corners - (self.cx, self.cy)) / (self.fx, self.fy)
        return bool((np.abs(slopes * (other.fx, other.fy) + (other.cx, other.cy) - corners) < 0.5).all())

    def rays(self, window: tuple[slice, slice], step: int = 1) -> FloatArray:
        """Where the pixels of a window look.

        Args:
            window: rows and columns, with start and stop.
            step: every how many pixels.

        Returns:
            (h, w, 2) float32: x/z and y/z of the ray through each pixel; NaN where the lens cannot be undone.
        """
        rows, columns = window
        if self.distortion:
            return _lens_rays(self)[rows.start : rows.stop : step, columns.start : columns.stop : step]
        x = (np.arange(columns.start, columns.stop, step, dtype=np.float32) - np.float32(self.cx)) / np.float32(self.fx)
        y = (np.arange(rows.start, rows.stop, step, dtype=np.float32) - np.float32(self.cy)) / np.float32(self.fy)
        grid = np.empty((y.size, x.size, 2), np.float32)
        grid[..., 0], grid[..., 1] = x[None, :], y[:, None]
        return grid

    def rectified(self) -> CameraModel:
        """The pinhole of the same intrinsics, whose image `rectify` makes."""
        return replace(self, distortion=(), fisheye=False)

    def rectify(self, image: NDArray[Sample], *, smooth: bool) -> NDArray[Sample]:
        """An image as the pinhole `rectified()` sees it.

        Args:
            image (height, width) or (height, width, C): of this camera.
            smooth: interpolate (colour); else the nearest pixel (depth, masks). Outside the image: 0.
        """
        if not self.distortion:
            return image
        map_x, map_y = _rectifying_maps(self)
        method = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
        return np.asarray(
            cv2.remap(image, map_x, map_y, method, borderMode=cv2.BORDER_CONSTANT, borderValue=0), image.dtype
        )


@lru_cache(maxsize=16)  # one for each camera of a process
def _lens_rays(camera: CameraModel) -> FloatArray:
    """(height, width, 2) rays of a lens; NaN where it cannot be undone."""
    columns = np.linspace(0, camera.width - 1, max(2, -(-camera.width // _NODE_STEP_PX)))
    rows = np.linspace(0, camera.height - 1, max(2, -(-camera.height // _NODE_STEP_PX)))
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 1, 2)
    coefficients = np.asarray(camera.distortion, np.float64)
    straight = np.full(pixels.shape, np.nan)
    if camera.fisheye:
        straight[:] = cv2.fisheye.undistortPoints(pixels, camera.matrix, coefficients)
    else:
        straight[:] = cv2.undistortPointsIter(pixels, camera.matrix, coefficients, None, None, _INVERSION)
    usable = np.isfinite(straight).all(axis=(1, 2)) & (np.abs(straight).max(axis=(1, 2)) < _WIDEST_SLOPE)
    straight[~usable] = 0
    back = project(camera, straight.reshape(-1, 2))
    usable &= np.abs(back - pixels.reshape(-1, 2)).max(axis=1) < _REPROJECTION_PX
    nodes = np.where(usable[:, None], straight.reshape(-1, 2), np.nan).astype(np.float32)
    nodes = nodes.reshape(len(rows), len(columns), 2)
    map_x = np.linspace(0, len(columns) - 1, camera.width, dtype=np.float32)[None].repeat(camera.height, 0)
    map_y = np.linspace(0, len(rows) - 1, camera.height, dtype=np.float32)[:, None].repeat(camera.width, 1)
    return np.asarray(cv2.remap(nodes, map_x, map_y, cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=16)  # one for each camera of a process
def _rectifying_maps(camera: CameraModel) -> tuple[FloatArray, FloatArray]:
    """Where each pixel of the pinhole image is found in the lens's image: column and row, float32."""
    rays = camera.rectified().rays((slice(0, camera.height), slice(0, camera.width))).reshape(-1, 2)
    found = project(camera, rays.astype(np.float64)).astype(np.float32)
    maps = found.reshape(camera.height, camera.width, 2)
    return np.ascontiguousarray(maps[..., 0]), np.ascontiguousarray(maps[..., 1])


def project(camera: CameraModel, slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels of rays.

    Args:
        camera: lens included.
        slopes (N, 2): x/z and y/z.

    Returns:
        (N, 2) column and row.
    """
    points = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1)[:, None]
    nothing = np.zeros(3)
    coefficients = np.asarray(camera.distortion, np.float64)
    if camera.fisheye:
        pixels, _ = cv2.fisheye.projectPoints(points, nothing, nothing, camera.matrix, coefficients)
    else:
        pixels, _ = cv2.projectPoints(points, nothing, nothing, camera.matrix, coefficients)
    return np.asarray(pixels, np.float64).reshape(-1, 2)
