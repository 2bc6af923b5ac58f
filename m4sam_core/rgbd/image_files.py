# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files to arrays and back, and telling cheaply whether one is sound.

Pixels come as they are stored: the orientation in the EXIF data of a JPEG, PNG or WebP file is not applied, in no room
and neither by the decoder of compressed topics, because depth beside a turned picture is as the sensor delivered it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_bytes
from m4sam_core.host.outputs import cannot_write

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".webp", ".jpg", ".jpeg")
"""Read in this order of preference when one frame has several files; lossless first."""

_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_MAX_PIXELS = 64_000_000
_ORIENTATION = 0x0112
_DARK_16_BIT = (1 << 14) - 1  # of a sensor with 10, 12 or 14 bits, not scaled
_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in px from the header, after a check that the file's end is there.

    Costs about 0.1 ms; a truncated png or jpeg is found without decoding it.

    Raises:
        InputError: unreadable, truncated or implausibly large.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            kind = image.format
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64))
            tail = file.read()
    except _BROKEN as error:
        raise InputError(f"{path}: expected an image, got {error}") from None
    if (kind == "PNG" and _PNG_END not in tail) or (kind == "JPEG" and _JPEG_END not in tail):
        raise InputError(f"{path}: expected a whole {kind} file, got a truncated one")
    if width * height > _MAX_PIXELS or min(width, height) < 1:
        raise InputError(f"{path}: expected at most {_MAX_PIXELS} px, got {width}x{height}")
    return height, width


def exif_orientation(path: Path) -> int:
    """The orientation a JPEG, PNG or WebP file asks a viewer for: 1 as stored, 2..8 mirrored or turned.

    A TIFF file's is part of its layout, and is applied by every reader here.

    Raises:
        InputError: no image.
    """
    try:
        with Image.open(path) as image:
            return 1 if image.format == "TIFF" else int(image.getexif().get(_ORIENTATION, 1))
    except _BROKEN as error:
        raise InputError(f"{path}: expected an image, got {error}") from None


def rgb_flaw(path: Path) -> str | None:
    """What is odd about a colour image that is read all the same; None when nothing is.

    Raises:
        InputError: no image.
    """
    if exif_orientation(path) != 1:
        return "rgb has an EXIF orientation, which is not applied: pixels are used as stored"
    with Image.open(path) as image:
        deep = image.mode.startswith("I") or any("16" in str(tile[3]) for tile in image.tile)
    if deep:
        largest = int(read_pixels(path).max())
        if largest <= _DARK_16_BIT:
            return f"rgb has 16 bits of which few are used, it is read as dark; scale it to 65535: largest {largest}"
    return None


def read_rgb(path: Path) -> np.ndarray:
    """Colour image (H, W, 3) uint8, R, G, B, as stored; 16-bit samples are scaled to 8, alpha is dropped.

    Raises:
        InputError: the file cannot be decoded, or holds float or 32-bit samples.
    """
    try:
        with Image.open(path) as image:
            if not image.mode.startswith(("I", "F")):
                return np.asarray(image.convert("RGB"))
    except _BROKEN as error:
        raise InputError(f"{path}: expected an image, got {error}") from None
    pixels = read_pixels(path)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: expected 8-bit or 16-bit colour, got {pixels.dtype}; convert it")
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    if grey.dtype == np.uint16:  # PIL would cut at 255 what is above
        grey = cv2.convertScaleAbs(grey, alpha=1 / 257)
    return np.repeat(grey[..., None], 3, axis=2)


def read_grey(path: Path) -> np.ndarray:
    """The file's brightness (H, W) uint8; 16-bit samples are scaled, colours become their luminance.

    Raises:
        InputError: the file cannot be decoded.
    """
    raw = one_channel(read_pixels(path), path)
    if raw.dtype == np.uint16:
        return (raw >> 8).astype(np.uint8)
    return raw if raw.dtype == np.uint8 else (np.clip(raw, 0, 1) * 255).astype(np.uint8)


def read_pixels(path: Path) -> np.ndarray:
    """A file's samples as stored, colours as R, G, B(, A): (H, W) or (H, W, C), uint8, uint16 or float32.

    Raises:
        InputError: the file cannot be decoded, or has other samples.
    """
    raw = read_samples(path)
    if raw.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"{path}: expected 8-bit, 16-bit or float32 pixels, got {raw.dtype}; save it as one of these")
    return raw


def read_samples(path: Path) -> np.ndarray:
    """The same in whatever type the file has, e.g. the 32-bit integers and doubles of TIFF.

    Raises:
        InputError: the file cannot be decoded.
    """
    try:
        raw = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise InputError(f"{path}: expected an image, got {error}") from None
    if raw is None:
        raise InputError(f"{path}: expected an image, got a file that cannot be decoded; replace or remove it")
    return np.ascontiguousarray(swapped_colours(raw))


def swapped_colours(pixels: np.ndarray) -> np.ndarray:
    """Samples in R, G, B(, A) order as B, G, R(, A), which OpenCV reads and writes, and back; grey ones as they are."""
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        return pixels
    return pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]


def palette_indices(path: Path) -> np.ndarray | None:
    """(H, W) uint8 indices of a palette file; None of another file."""
    try:
        with Image.open(path) as image:
            return np.asarray(image) if image.mode == "P" else None
    except _BROKEN as error:
        raise InputError(f"{path}: expected an image, got {error}") from None


def one_channel(raw: np.ndarray, path: Path) -> np.ndarray:
    """(H, W) of an array from `read_pixels`: equal channels become one, 8-bit colours their luminance as PIL's "L".

    Raises:
        InputError: colours of more than 8 bit.
    """
    if raw.ndim == 2:
        return raw
    if raw.shape[2] < 3 or not is_coloured(raw):
        return np.ascontiguousarray(raw[..., 0])
    if raw.dtype != np.uint8:
        raise InputError(f"{path}: expected one channel or three equal ones, got a {raw.dtype} colour image")
    return np.asarray(Image.fromarray(np.ascontiguousarray(raw[..., :3])).convert("L"))


def is_coloured(raw: np.ndarray) -> bool:
    """Whether an array from `read_pixels` has channels that differ."""
    return raw.ndim == 3 and raw.shape[2] >= 3 and not bool((raw[..., :3] == raw[..., :1]).all())


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a lossless png: (H, W) uint8 or uint16, or (H, W, 3) uint8 rgb. It appears whole or not at all.

    Raises:
        InputError: the array is of another type, or the file cannot be written.
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3):
        raise InputError(f"{path}: expected uint8 or uint16 pixels, got {image.dtype} {image.shape}")
    ordered = image[..., ::-1] if image.ndim == 3 else image
    write_encoded(path, np.ascontiguousarray(ordered), [cv2.IMWRITE_PNG_COMPRESSION, 1])


def write_encoded(path: Path, pixels: np.ndarray, options: list[int]) -> None:
    """Write an array by the encoder of the path's suffix, whole or not at all.

    Raises:
        InputError: the encoder refuses it, or the file cannot be written.
    """
    if not cv2.haveImageWriter(f"x{path.suffix}"):
        raise InputError(f"{path}: expected a name that ends in .png or another picture's suffix; choose such a name")
    ok, data = cv2.imencode(path.suffix, pixels, options)
    if not ok:
        raise InputError(f"{path}: the {path.suffix[1:]} encoder refused {pixels.dtype} {pixels.shape}")
    try:
        write_bytes(path, data.data)
    except OSError as error:
        raise InputError(cannot_write(path, error)) from error
