"""Jobs on a Kubernetes: a cache of what daskjob watches, and what is written to the API server.

Three rooms, each may use those before it: ``watching`` keeps a cache true and says which passes a
change calls for; ``asking`` asks schedulers, and Events about stuck pods, beside the passes;
``writing`` writes so that the cache shows it at once. ``backend`` is all of it as the world of
passes.
"""
