# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Names that are safe to use as paths."""

from __future__ import annotations

import re


def safe_name(name: str) -> bool:
    """True for a name that is one plain path component: no separators, no "..", no control characters."""
    return bool(name) and name not in (".", "..") and not re.search(r"[/\\\x00-\x1f]", name)
