"""`python -m m4sam_ros.viewer`."""

import sys

from m4sam_ros.viewer import main

sys.exit(main())
