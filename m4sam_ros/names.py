# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every ROS name of the package, relative to the node's namespace unless it begins with a slash."""

from __future__ import annotations

NAMESPACE = "saliency"
"""Without another one given, so that `ros2 run` publishes /saliency/mask."""

NODE = "m4sam"

# Inputs.
RGB = "rgb/image"
DEPTH = "depth/image"
CAMERA_INFO = "rgb/camera_info"
DEPTH_INFO = "depth/camera_info"
IGNORE_MASK = "ignore_mask"

# Outputs.
MASK = "mask"
PROBABILITY = "probability"
OVERLAY = "overlay"
OVERLAY_COMPRESSED = "overlay/compressed"
DEPTH_MASKED = "depth_masked"
DETECTIONS = "detections"
MASK_COMPRESSED = "mask/compressed"
LABELS = "labels"
CONFIDENCE = "confidence"
LABEL_INFO = "label_info"
OBJECTS = "objects"
MARKERS = "markers"
TARGET = "target"
POINTS = "points"
DEPTH_BACKGROUND = "depth_background"
BUNDLE_IMAGE = "bundle/image"
BUNDLE_DEPTH = "bundle/depth"
BUNDLE_MASK = "bundle/mask"
BUNDLE_INFO = "bundle/camera_info"
BUNDLE = (BUNDLE_IMAGE, BUNDLE_DEPTH, BUNDLE_MASK, BUNDLE_INFO)
"""Always published together, with one stamp."""
TF = "/tf"
SWITCHES = {MASK_COMPRESSED: "mask_compressed", TF: "target_tf", **dict.fromkeys(BUNDLE, "bundle")}
"""The field of `OutputsConfig` that switches a topic, where it has another name than the topic."""
STATE = "state"
DIAGNOSTICS = "/diagnostics"
"""Shared by every node of the graph."""

# Services.
RESET = "~/reset"
ENABLE = "~/enable"
CAPTURE = "~/capture"


def transported(topic: str, transport: str) -> str:
    """The name under which image_transport publishes a topic: <topic>/<transport>, or the topic itself for "raw".

    Args:
        topic: resolved name of the raw topic; remapping applies to it, not to what is added.
        transport: "raw", "compressed" or "compressedDepth".
    """
    return topic if transport == "raw" else f"{topic}/{transport}"
