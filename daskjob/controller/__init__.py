"""The operator: it makes passes over the objects of a Kubernetes for as long as it runs.

From below: a ``queue`` says which objects are due, ``passes`` makes a pass over each, a ``lease``
says whether this process may, ``leader_only`` sees to it that nobody else does; ``kopf_runner``
runs users' kopf plugins beside it; ``probes`` and ``metrics`` tell how it is, ``logs`` what it
does. ``operator`` starts and ends all of it, ``options`` is what it was told on its command line.

kopf is imported where there are plugins, and nowhere else; distributed never is.
"""
