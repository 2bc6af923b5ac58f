# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which source the player's setting names: a folder of images, or a rosbag."""

from __future__ import annotations

from pathlib import Path

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.find import holds_storage, is_bag
from m4sam_ros.player.bags import BagPlayback
from m4sam_ros.player.folder import FolderSource
from m4sam_ros.player.settings import PlayConfig
from m4sam_ros.player.source import Source


def open_source(cfg: PlayConfig) -> Source:
    """The folder or bag `cfg.source`.

    Raises:
        InputError: neither; the text says what was looked for.
    """
    path = Path(cfg.source).expanduser()
    if not cfg.source:
        raise InputError("source: expected a clip folder (rgb/ and depth/) or a rosbag; give -p source:=PATH")
    if not path.exists():
        raise InputError(f"source: expected a clip folder or a rosbag, but {path} does not exist; check the path")
    if is_bag(path) or holds_storage(path):
        return BagPlayback(path, cfg)
    return FolderSource(path, cfg)
