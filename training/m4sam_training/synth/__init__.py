"""Generated RGB-D video with exact saliency masks; needs numpy and OpenCV, solid objects the extra `synth`."""
