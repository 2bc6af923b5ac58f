# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Small synthetic datasets in every layout, with the irregularities of the real ones on request."""

from m4sam_training.data.generate.dataset import generate_dataset
from m4sam_training.data.generate.planted import Planted
from m4sam_training.data.generate.videos import relative_depth

__all__ = ["Planted", "generate_dataset", "relative_depth"]
