"""Maintainers' tool: see a GLB as three.js shows it, in headless Chromium."""
