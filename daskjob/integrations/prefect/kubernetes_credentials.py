"""prefect-kubernetes' block of credentials, if that is installed.

Without it, a block's field of this type takes nothing, and daskjob reads kubeconfigs itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    KubernetesCredentials = Any
else:
    try:
        from prefect_kubernetes.credentials import KubernetesCredentials
    except ImportError:
        from prefect.blocks.core import Block

        class KubernetesCredentials(Block):
            """A stand-in of the block of prefect-kubernetes, which is not installed."""

            _block_type_name = "Kubernetes Credentials (not installed)"
            _is_anonymous = True
