"""Questions that are asked beside the passes: to schedulers, and about pods that are stuck."""
