"""Jobs on a Kubernetes: its API, a cache of what daskjob watches, and what is written.

From below: ``connection`` says where the API server is and who we are; ``api`` sends one request;
``items`` says what of an object is kept, ``cache`` keeps it, an ``informer`` keeps the cache true;
``cached_api`` writes so that the cache shows it at once.
"""
