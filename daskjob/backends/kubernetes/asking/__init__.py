"""Queries in the background of the passes: to schedulers, and for Events of stuck pods."""
