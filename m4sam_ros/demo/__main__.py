"""`python -m m4sam_ros.demo`."""

import sys

from m4sam_ros.demo.run import main

sys.exit(main())
