"""Builders: one module for each object that daskjob creates; pure, whole, deterministic.

A builder returns the complete manifest, reads nothing but its arguments and changes none of them.
"""
