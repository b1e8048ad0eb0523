"""Why a job of a cluster waits or failed: one judgement per module, and their order."""
