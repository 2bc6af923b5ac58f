"""The objects' side of the node: their topics, the calibrations they need, depth without them, one frame on demand."""
