"""The objects' side of the node: their topics, the calibrations they need, one frame on demand."""
