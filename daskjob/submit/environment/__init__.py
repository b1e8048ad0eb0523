"""The packages of a job: what its script wants, resolved once to the same lines for every pod."""
