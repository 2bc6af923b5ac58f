# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The objects' side of the node: their topics, depth without them, the calibrations they need, one frame on demand."""
