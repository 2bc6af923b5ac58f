"""`python -m m4sam_ros.player`."""

import sys

from m4sam_ros.player.player import main

sys.exit(main())
