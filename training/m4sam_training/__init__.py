"""Offline tools: datasets, training, evaluation, bags and the `m4sam` command. Nothing imports this package."""
