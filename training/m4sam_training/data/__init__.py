# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Datasets: one table of layouts, one reader, clips as tensors."""
