"""Writes of passes: the cache shows them at once, and rejections are recorded."""
