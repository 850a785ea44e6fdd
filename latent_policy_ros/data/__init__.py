"""Demonstrations and observations: from topics and files to arrays."""
