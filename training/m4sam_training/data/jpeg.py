# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""JPEG files that are damaged inside, which the usual decoders read without a word.

OpenCV and PIL fill what is missing with grey and go on. libjpeg-turbo tells it as a warning, which simplejpeg hands on.
"""

from __future__ import annotations

from pathlib import Path

from m4sam_core.errors import ConfigError
from m4sam_core.host.optional import require

_START = b"\xff\xd8\xff"


def is_jpeg(path: Path) -> bool:
    """By its first bytes, whatever its name.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


def why_blind() -> str | None:
    """None where such damage can be found, else what to install."""
    try:
        require("simplejpeg", "check")
    except ConfigError as error:
        return str(error)
    return None


def jpeg_damage(path: Path) -> str | None:
    """What libjpeg-turbo has to say about the compressed data of a file, e.g. "premature end of data segment".

    Data that is damaged and still makes sense, such as a changed bit that is another valid code, is not told.

    Args:
        path: a JPEG file that other decoders read.

    Returns:
        the first complaint; None for a sound file.

    Raises:
        ConfigError: simplejpeg is not installed.
    """
    require("simplejpeg", "check")
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(path.read_bytes(), strict=True)
    except ValueError as error:
        return " ".join(str(error).split()).removeprefix("Corrupt JPEG data: ")
    return None
