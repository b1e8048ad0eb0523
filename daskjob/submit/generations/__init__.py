"""The generation rule: which job is that of a task of an orchestrator, whatever has crashed.

A task of an orchestrator is tried several times, by processes that may be killed at any moment.
Each try calls ``start_generation``: it adopts the task's job, takes its result, or starts the next
one, a new *generation*, whose name follows from the task's identity and its number. So no crash and
no two tries at once make two jobs of a generation.
"""

from daskjob.submit.generations.identity import Identity, annotations_of, labels_of, name_of
from daskjob.submit.generations.rule import OnConflict, Step
from daskjob.submit.generations.starting import (
    Generation,
    acknowledge,
    acknowledge_async,
    start_generation,
    start_generation_async,
)

__all__ = [
    "Generation",
    "Identity",
    "OnConflict",
    "Step",
    "acknowledge",
    "acknowledge_async",
    "annotations_of",
    "labels_of",
    "name_of",
    "start_generation",
    "start_generation_async",
]
