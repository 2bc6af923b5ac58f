# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Identity over time: tracks, which sighting belongs to which, and things known apart that touch."""
