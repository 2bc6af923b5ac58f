# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Pair two streams of stamped items by nearest stamp: rgb with depth, live or from a bag. Pure Python, no ROS."""

from m4sam_core.rgbd.pairing.pairer import NearestStampPairer, Pair

__all__ = ["NearestStampPairer", "Pair"]
