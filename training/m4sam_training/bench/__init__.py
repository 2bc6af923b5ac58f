"""Speed of training steps; recall of the scene detector."""
