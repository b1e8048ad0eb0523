"""Builders: one module for each object that daskjob creates; pure and deterministic.

A builder returns the complete manifest; it reads only its arguments and does not modify them.
"""
