"""This machine: files, processes, optional packages. Knows nothing of images or models."""
