"""One Kubernetes API server, for the operator and for clients.

From below: ``access`` and ``credentials`` say where the API server is and who we are;
``resources`` has the kinds and their paths; ``api`` sends one request; ``objects`` gets, lists and
watches decoded objects.
"""
