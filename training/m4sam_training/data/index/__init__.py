# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One index of a dataset's split for all processes and runs, and whether it still holds."""
