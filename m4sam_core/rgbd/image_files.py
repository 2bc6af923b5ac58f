"""Reading rgb, depth and mask files, and telling cheaply whether one is sound."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_bytes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Read in this order of preference when one frame has several files; lossless first."""

_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_MAX_PIXELS = 64_000_000


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
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected an image, got {error}") from None
    if (kind == "PNG" and _PNG_END not in tail) or (kind == "JPEG" and _JPEG_END not in tail):
        raise InputError(f"{path}: expected a whole {kind} file, got a truncated one")
    if width * height > _MAX_PIXELS or min(width, height) < 1:
        raise InputError(f"{path}: expected at most {_MAX_PIXELS} px, got {width}x{height}")
    return height, width


def read_rgb(path: Path) -> np.ndarray:
    """Colour image (H, W, 3) uint8, R, G, B.

    Raises:
        InputError: the file cannot be decoded.
    """
    return np.asarray(_open(path, "RGB"))


def read_mask(path: Path) -> np.ndarray:
    """Binary mask (H, W) uint8: 255 where the file is brighter than 127, else 0.

    Raises:
        InputError: the file cannot be decoded.
    """
    return np.where(read_grey(path) > 127, np.uint8(255), np.uint8(0))


def read_grey(path: Path) -> np.ndarray:
    """The file's brightness (H, W) uint8; a 16-bit file is scaled, not saturated.

    Raises:
        InputError: the file cannot be decoded.
    """
    raw = read_depth(path)
    if raw.dtype == np.uint16:
        return (raw >> 8).astype(np.uint8)
    return raw if raw.dtype == np.uint8 else (np.clip(raw, 0, 1) * 255).astype(np.uint8)


def read_depth(path: Path) -> np.ndarray:
    """Depth (H, W) as stored: uint8, uint16, or float32.

    8-bit colour files become their luminance (equal channels: that channel), as PIL's convert("L") does; 16-bit files
    keep all their bits, where convert("L") would saturate at 255.

    Raises:
        InputError: the file cannot be decoded, or is a 16-bit colour file with unequal channels.
    """
    try:
        raw = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise InputError(f"{path}: expected an image, got {error}") from None
    if raw is None:
        raise InputError(f"{path}: expected an image, got a file that cannot be decoded")
    if raw.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"{path}: expected 8-bit, 16-bit or float32 pixels, got {raw.dtype}")
    if raw.ndim == 2:
        return raw
    colour = raw[..., :3]
    if raw.shape[2] < 3 or (colour == colour[..., :1]).all():
        return np.ascontiguousarray(raw[..., 0])
    if raw.dtype != np.uint8:
        raise InputError(f"{path}: expected one channel or three equal ones, got a {raw.dtype} colour image")
    return np.asarray(Image.fromarray(np.ascontiguousarray(colour[..., ::-1])).convert("L"))


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a lossless png: (H, W) uint8 or uint16, or (H, W, 3) uint8 rgb. It appears whole or not at all.

    Raises:
        InputError: the array is of another type, or the file cannot be written.
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3):
        raise InputError(f"{path}: expected uint8 or uint16 pixels, got {image.dtype} {image.shape}")
    ordered = image[..., ::-1] if image.ndim == 3 else image
    ok, data = cv2.imencode(".png", np.ascontiguousarray(ordered), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise InputError(f"{path}: the png encoder refused {image.dtype} {image.shape}")
    try:
        write_bytes(path, data.data)
    except OSError as error:
        raise InputError(f"{path}: cannot write ({error}); check the folder and the free space") from None


def _open(path: Path, mode: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected an image, got {error}") from None
