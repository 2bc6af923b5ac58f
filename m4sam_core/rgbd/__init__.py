# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D outside the model: stamps, encodings, files, folders and recordings. Neither torch nor ROS."""
