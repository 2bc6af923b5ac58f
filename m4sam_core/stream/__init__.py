"""Time: the recurrence, the memory bank and scene changes."""
