# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The `m4sam` command: what a robot needs of it, and the table where the other packages' commands register."""
