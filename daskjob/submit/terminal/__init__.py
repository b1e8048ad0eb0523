"""The terminal of ``daskjob run``: the script's output, messages and keys, and the live line."""
