# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of scenes beyond the plain room: what real cameras show, and what only the past can tell."""
