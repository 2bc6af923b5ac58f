"""The network. Nothing here knows of time, files or ROS."""
