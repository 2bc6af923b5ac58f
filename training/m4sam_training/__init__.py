# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Offline tools: datasets, training, evaluation and bags. No other package imports this one."""
