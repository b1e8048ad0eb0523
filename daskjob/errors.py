"""Every exception that a program can get from daskjob, as one tree.

::

    DaskJobError
    ├── Invalid                       the input is invalid; lists every mistake
    ├── NotFound                      the object does not exist
    │   ├── NoNamespace                   the namespace does not exist
    │   ├── GoneHere                      a job of this machine whose folder was removed
    │   ├── NoSuchLog                     the job has no such log
    │   └── NoSuchCluster                 there is no DaskCluster of this name (ValueError)
    ├── Conflict                      the name or the submission belongs to another object
    │   ├── AlreadyExists                 an object of this name exists
    │   ├── Replaced                      another object has the name now
    │   ├── StillRunning                  the job has not ended
    │   └── ClusterExists                 the DaskCluster exists already (ValueError)
    ├── Forbidden                     a permission is missing
    ├── ChangeDenied                  the API server rejected a change of an object
    ├── Incomplete                    a record lacks what a new job needs
    ├── NotStarted                    the job did not start on this machine
    ├── NotebookFailed                the pod of a notebook crashes
    ├── ApiError                      a request to the API, or to this machine, failed
    │   ├── NoCredentials                 no usable kubeconfig, and no service account
    │   ├── Unauthorized                  the API server rejects the credentials
    │   ├── Unreachable                   there was no connection to the API server
    │   ├── Unanswered                    the API server could not answer
    │   │   └── OutcomeUnknown                a creation was sent, with unknown outcome
    │   ├── Throttled                     the API server is overloaded
    │   ├── UnexpectedObject              the response has another form
    │   ├── CreateRejected                an object was rejected
    │   ├── NotInstalled                  daskjob's CRDs are not installed
    │   │   └── ClustersNotInstalled          the same, where a cluster was asked for
    │   │       └── OperatorNotInstalled          the same, for KubeCluster (RuntimeError)
    │   ├── SchedulerStartupError         the scheduler cannot start
    │   │   └── CrashLoopBackOffError         it starts, and ends again and again
    │   └── NoConnection                  the scheduler cannot be reached (ConnectionError)
    ├── Timeout                       the wait ended first
    │   ├── StartTimeout                  the cluster did not start in time (TimeoutError)
    │   ├── CloseTimeout                  the cluster was not closed in time (TimeoutError)
    │   └── StillMissing                  fewer workers than awaited (WorkerStartTimeoutError)
    ├── Failed                        the job ended without success
    │   ├── UserFailure                   caused by the job itself
    │   ├── InfrastructureFailure         caused by its environment
    │   ├── PolicyFailure                 a limit set by its spec
    │   └── InvalidFailure                a spec that cannot work
    ├── PortTaken                     a local port is in use
    │   └── LocalPortTaken                the same, for KubeCluster (ConnectionError)
    ├── WrongArgument                 an argument that cannot work (ValueError)
    │   ├── NoSuchFile                    a file that does not exist (FileNotFoundError)
    │   └── ValidationError               the same, of KubeCluster
    ├── WrongType                     an argument of a wrong type (TypeError)
    ├── UnknownArgument               an argument that does not exist (TypeError)
    ├── ClusterClosed                 the cluster was closed (RuntimeError)
    ├── WouldBlock                    a blocking call in an event loop (RuntimeError)
    │   └── BlockingCall                  the same, of KubeCluster
    ├── SchedulerFailed               the scheduler of a classic cluster cannot start
    └── SchedulerUnreachable          that scheduler cannot be reached (ConnectionError)

A name in brackets is the built-in exception, or that of distributed, which the class is as well.
``retryable`` of every class is whether the same call may succeed later. All can be pickled. They
are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskjob.classic.reach import SchedulerUnreachable as SchedulerUnreachable
    from daskjob.classic.start import SchedulerFailed as SchedulerFailed
    from daskjob.core.errors import ApiError as ApiError
    from daskjob.core.errors import ChangeDenied as ChangeDenied
    from daskjob.core.errors import Conflict as Conflict
    from daskjob.core.errors import CreateRejected as CreateRejected
    from daskjob.core.errors import DaskJobError as DaskJobError
    from daskjob.core.errors import Failed as Failed
    from daskjob.core.errors import FieldError as FieldError
    from daskjob.core.errors import Forbidden as Forbidden
    from daskjob.core.errors import InfrastructureFailure as InfrastructureFailure
    from daskjob.core.errors import Invalid as Invalid
    from daskjob.core.errors import InvalidFailure as InvalidFailure
    from daskjob.core.errors import NoSuchFile as NoSuchFile
    from daskjob.core.errors import NotFound as NotFound
    from daskjob.core.errors import Permission as Permission
    from daskjob.core.errors import PolicyFailure as PolicyFailure
    from daskjob.core.errors import RejectionKind as RejectionKind
    from daskjob.core.errors import Timeout as Timeout
    from daskjob.core.errors import UnknownArgument as UnknownArgument
    from daskjob.core.errors import UserFailure as UserFailure
    from daskjob.core.errors import WrongArgument as WrongArgument
    from daskjob.core.errors import WrongType as WrongType
    from daskjob.kube.access import NoCredentials as NoCredentials
    from daskjob.kube.errors import AlreadyExists as AlreadyExists
    from daskjob.kube.errors import OutcomeUnknown as OutcomeUnknown
    from daskjob.kube.errors import Replaced as Replaced
    from daskjob.kube.errors import Throttled as Throttled
    from daskjob.kube.errors import Unanswered as Unanswered
    from daskjob.kube.errors import Unauthorized as Unauthorized
    from daskjob.kube.errors import UnexpectedObject as UnexpectedObject
    from daskjob.kube.errors import Unreachable as Unreachable
    from daskjob.kube.namespaces import NoNamespace as NoNamespace
    from daskjob.kube.port_forward import PortTaken as PortTaken
    from daskjob.kubecluster.errors import BlockingCall as BlockingCall
    from daskjob.kubecluster.errors import CloseTimeout as CloseTimeout
    from daskjob.kubecluster.errors import ClusterClosed as ClusterClosed
    from daskjob.kubecluster.errors import ClusterExists as ClusterExists
    from daskjob.kubecluster.errors import CrashLoopBackOffError as CrashLoopBackOffError
    from daskjob.kubecluster.errors import LocalPortTaken as LocalPortTaken
    from daskjob.kubecluster.errors import NoConnection as NoConnection
    from daskjob.kubecluster.errors import NoSuchCluster as NoSuchCluster
    from daskjob.kubecluster.errors import OperatorNotInstalled as OperatorNotInstalled
    from daskjob.kubecluster.errors import SchedulerStartupError as SchedulerStartupError
    from daskjob.kubecluster.errors import StartTimeout as StartTimeout
    from daskjob.kubecluster.errors import StillMissing as StillMissing
    from daskjob.kubecluster.errors import ValidationError as ValidationError
    from daskjob.submit.client.errors import ClustersNotInstalled as ClustersNotInstalled
    from daskjob.submit.client.errors import NotInstalled as NotInstalled
    from daskjob.submit.clusters.notebook import NotebookFailed as NotebookFailed
    from daskjob.submit.jobs import StillRunning as StillRunning
    from daskjob.submit.local import GoneHere as GoneHere
    from daskjob.submit.local_background import NotStarted as NotStarted
    from daskjob.submit.records.completeness import Incomplete as Incomplete
    from daskjob.submit.sync import WouldBlock as WouldBlock
    from daskjob.submit.worker_names import NoSuchLog as NoSuchLog

#: The public names of each module; the first ones are not exceptions, but what these hold.
_NAMES = {
    "core.errors": "FieldError Permission RejectionKind DaskJobError Invalid NotFound Conflict "
    "Forbidden ApiError CreateRejected ChangeDenied Timeout Failed UserFailure "
    "InfrastructureFailure PolicyFailure InvalidFailure WrongArgument NoSuchFile WrongType "
    "UnknownArgument",
    "kube.access": "NoCredentials",
    "kube.errors": "AlreadyExists Replaced Unreachable Unauthorized Unanswered "
    "OutcomeUnknown Throttled UnexpectedObject",
    "kube.namespaces": "NoNamespace",
    "kube.port_forward": "PortTaken",
    "submit.client.errors": "NotInstalled ClustersNotInstalled",
    "submit.clusters.notebook": "NotebookFailed",
    "submit.jobs": "StillRunning",
    "submit.local": "GoneHere",
    "submit.local_background": "NotStarted",
    "submit.records.completeness": "Incomplete",
    "submit.sync": "WouldBlock",
    "submit.worker_names": "NoSuchLog",
    "kubecluster.errors": "BlockingCall CloseTimeout ClusterClosed ClusterExists "
    "CrashLoopBackOffError LocalPortTaken NoConnection NoSuchCluster OperatorNotInstalled "
    "SchedulerStartupError StartTimeout StillMissing ValidationError",
    "classic.start": "SchedulerFailed",
    "classic.reach": "SchedulerUnreachable",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f"daskjob.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        text = f"{name} needs {error.name}: pip install 'daskjob[kubernetes]'"
        raise ImportError(text) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(_MODULES)
