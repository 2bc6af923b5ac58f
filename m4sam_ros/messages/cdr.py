# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Pieces of serialised messages: plain CDR (OMG DDSI-RTPS 10.2) in this machine's byte order.

Numbers stand at multiples of their size, counted from behind `CDR_HEAD`; `aligned` pads for one of 4 bytes.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

BIG_ENDIAN_HOST = sys.byteorder == "big"
CDR_HEAD = b"\x00\x00\x00\x00" if BIG_ENDIAN_HOST else b"\x00\x01\x00\x00"
"""What every serialised message begins with: plain CDR in this machine's byte order, no options."""


def aligned(head: bytes) -> bytes:
    """Padded for the 4-byte number that follows."""
    return head + bytes(-len(head) % 4)


def cdr_string(text: str) -> bytes:
    """A string; it begins with a 4-byte number."""
    encoded = text.encode() + b"\0"
    return struct.pack("=I", len(encoded)) + encoded


def cdr_header(header: Any) -> bytes:
    """A `std_msgs/Header` at the beginning of a message."""
    return struct.pack("=iI", header.stamp.sec, header.stamp.nanosec) + cdr_string(header.frame_id)
