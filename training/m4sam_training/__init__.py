"""Offline tools: datasets, training, evaluation and bags. No other package imports this one."""
