"""The cache of all watched objects, the informers that keep it true, and the passes to wake."""
