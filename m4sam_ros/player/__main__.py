"""`python -m m4sam_ros.player`."""

import sys

from m4sam_ros.player import main

sys.exit(main())
