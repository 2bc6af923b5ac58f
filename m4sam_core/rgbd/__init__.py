"""RGB-D outside the model: stamps, encodings, files, folders and recordings. Neither torch nor ROS."""
