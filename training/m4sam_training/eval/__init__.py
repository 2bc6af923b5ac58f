"""Masks, scores, ablations and robustness."""
