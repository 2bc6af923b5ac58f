# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects in space with identity, from a stream's masks and depth. numpy in, frozen values out; no torch, no ROS."""

from __future__ import annotations

from m4sam_core.objects.camera import CameraModel
from m4sam_core.objects.config import ObjectsConfig
from m4sam_core.objects.finder import ObjectFinder
from m4sam_core.objects.types import OrientedBox, SceneObject, SceneObjects, as_record

__all__ = ["CameraModel", "ObjectFinder", "ObjectsConfig", "OrientedBox", "SceneObject", "SceneObjects", "as_record"]
