"""Every ROS name of the package, relative to the node's namespace unless it begins with a slash."""

from __future__ import annotations

NAMESPACE = "saliency"
"""Without another one given, so that `ros2 run` publishes /saliency/mask."""

NODE = "m4sam"

# Inputs.
RGB = "rgb/image"
DEPTH = "depth/image"
CAMERA_INFO = "rgb/camera_info"
IGNORE_MASK = "ignore_mask"

# Outputs.
MASK = "mask"
PROBABILITY = "probability"
OVERLAY = "overlay"
OVERLAY_COMPRESSED = "overlay/compressed"
DEPTH_MASKED = "depth_masked"
DETECTIONS = "detections"
STATE = "state"
DIAGNOSTICS = "/diagnostics"
"""Shared by every node of the graph."""

# Services.
RESET = "~/reset"
ENABLE = "~/enable"


def transported(topic: str, transport: str) -> str:
    """The name under which image_transport publishes a topic: <topic>/<transport>, or the topic itself for "raw".

    Args:
        topic: resolved name of the raw topic; remapping applies to it, not to what is added.
        transport: "raw", "compressed" or "compressedDepth".
    """
    return topic if transport == "raw" else f"{topic}/{transport}"
