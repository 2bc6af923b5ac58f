"""Datasets: one table of layouts, one reader, clips as tensors."""
