"""`python -m m4sam_ros.recorder`."""

import sys

from m4sam_ros.recorder import main

sys.exit(main())
