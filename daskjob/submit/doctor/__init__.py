"""Checks what jobs need, on this machine or in a cluster: each line with what to do."""
