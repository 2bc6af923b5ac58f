"""Speed and memory of models and streams on this machine."""
