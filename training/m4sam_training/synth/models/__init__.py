# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Meshes of what scenes show: made-up solids, vehicles, grippers, and people from files."""
