"""One Kubernetes API server, for the operator and for clients.

From the bottom up: ``access`` and ``credentials`` provide the server's address and our identity;
``resources`` has the kinds and their paths; ``api`` sends one request; ``objects`` gets, lists and
watches decoded objects.
"""
