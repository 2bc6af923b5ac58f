"""`python -m m4sam_ros.node`."""

import sys

from m4sam_ros.node import main

sys.exit(main())
