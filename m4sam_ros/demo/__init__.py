"""The whole graph without a camera; `make demo`."""
