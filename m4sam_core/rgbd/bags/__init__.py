"""Rosbags: one reader, one choice of topics, one writer, for every tool that meets a recording."""
