"""From camera images to what the model sees, and back to the camera's size."""
