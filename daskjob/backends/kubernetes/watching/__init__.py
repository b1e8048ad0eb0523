"""The cache of all watched objects, the informers that fill it, and the passes to wake."""
