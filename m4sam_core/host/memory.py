# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory that one image leaves to the next."""

from __future__ import annotations

_LARGE_IMAGE_BYTES = 16 << 20


def keep_freed_memory() -> None:
    """Have the allocator keep an image's memory for the next image.

    glibc returns large blocks to the kernel at once, and touching new ones takes longer than copying an image; it
    stops doing so for sizes up to the largest block freed so far (mallopt(3), M_MMAP_THRESHOLD). Elsewhere this does
    nothing.
    """
    bytearray(_LARGE_IMAGE_BYTES)
