"""Generated RGB-D video with exact saliency masks; needs only numpy and OpenCV."""
