"""Jobs on a Kubernetes: a cache of the watched objects, and writes to the API server.

Three packages, each may use those before it: ``watching`` keeps the cache in sync and wakes the
passes that a change concerns; ``asking`` queries schedulers, and Events of stuck pods, in the
background; ``writing`` writes so that the cache shows it at once. ``backend`` combines them as the
backend of the passes.
"""
