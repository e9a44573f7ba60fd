"""Performances made and changed without a camera: presets, scores, emotions, edits, and motion onto another face."""
