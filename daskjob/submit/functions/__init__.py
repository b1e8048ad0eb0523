"""Functions as jobs: ``daskjob.submit(function, *arguments)``."""
