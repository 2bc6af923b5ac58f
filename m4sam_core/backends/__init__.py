# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The same network in other inference engines (docs/deploy.md). PyTorch is the reference they are checked against."""
