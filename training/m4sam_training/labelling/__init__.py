# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks to labelling tools and back: what people correct becomes ground truth, what they left stays a prediction."""
