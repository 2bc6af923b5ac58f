# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Generated RGB-D video with exact saliency masks; needs numpy and OpenCV, solid objects the extra `synth`."""
