# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m m4sam_ros.demo`."""

import sys

from m4sam_ros.demo.run import main

sys.exit(main())
