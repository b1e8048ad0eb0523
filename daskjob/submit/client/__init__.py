"""A client of the jobs of a cluster, in asynchronous form (``AsyncJobClient``).

It relies on the CustomResourceDefinitions only: not on an operator, and on none of its parts.
"""
