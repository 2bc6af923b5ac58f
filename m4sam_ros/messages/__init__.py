"""Numpy arrays to ROS image messages and back."""
