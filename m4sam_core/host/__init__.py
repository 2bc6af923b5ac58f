# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""This machine: files, processes, optional packages. Knows nothing of images or models."""
