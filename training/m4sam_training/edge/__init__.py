# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What is particular to the packaged weights: their pictures, clips and measurements."""
