"""Cameras, and hands that they see."""
