# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""M4-SAM as a ROS 2 node: RGB-D topics in, saliency masks out. A thin shell around `m4sam_core`."""
