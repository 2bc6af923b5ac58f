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
    bag = is_bag(path) or holds_storage(path)
    source: Source = BagPlayback(path, cfg) if bag else FolderSource(path, cfg)
    idle, kind = (_OF_FOLDERS, "a bag") if bag else (_OF_BAGS, "a folder")
    given = [name for name in idle if getattr(cfg, name) != PlayConfig.model_fields[name].default]
    source.notes += [f"{name} has no effect on {kind}" for name in given]
    return source


_OF_FOLDERS = ("fps", "transport", "rgb_encoding", "depth_encoding", "frame_id", "horizontal_fov_deg")
_OF_BAGS = ("rgb_topic", "depth_topic", "camera_info_topic")
