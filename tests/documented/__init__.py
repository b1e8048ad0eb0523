"""The code blocks of dask-kubernetes' documents, run as their users run them.

A package: pytest ends its fixtures, with their operator, before the tests of other folders.
"""
