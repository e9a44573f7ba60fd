"""LivePortrait (arXiv 2407.03168): a photo or a video moved by another face's implicit keypoints."""
