"""Orchestrators that run DaskJobs as their own tasks: one package for each.

A package here imports its orchestrator when it is used, not before. Nothing else imports one: each
is found by the orchestrator's entry point, or imported by a user's program.
"""
