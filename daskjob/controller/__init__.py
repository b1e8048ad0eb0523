"""The operator: it makes passes over the objects of a Kubernetes cluster for as long as it runs.

Bottom up: ``queue`` holds the objects that are due, ``passes`` makes a pass over each, ``lease``
elects the leader, ``leader_only`` rejects writes of any other operator; ``kopf_runner`` runs users'
kopf plugins alongside; ``probes`` and ``metrics`` report health, ``logs`` formats the log.
``operator`` starts and stops all of it, ``options`` parses the command line.

kopf is imported only if there are plugins; distributed never is.
"""
