"""The trainer: settings, losses, steps, checkpoints."""
