# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Rosbags: one reader, one choice of topics, one writer, for every tool that meets a recording."""
