"""Whether the API server keeps image volumes: others drop them, and the pod starts without them."""

from __future__ import annotations

from daskjob.backends.kubernetes.watching.items import ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import PODS
from daskjob.core.errors import ApiError, CreateRejected, RejectionKind
from daskjob.core.image_volumes import NEEDS, image_volumes
from daskjob.core.manifests import Manifest, mapping, object_ref
from daskjob.kube.api import Api


class ImageVolumes:
    """Asks the API server, by a dry run of the first pod that has one, and once if it does."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._are_kept = False

    async def check(self, manifest: Manifest) -> None:
        """Reject a pod that the server would create without its image volumes.

        A dry run that fails says nothing: so will the create, or a webhook knows no dry runs.

        Raises
        ------
        CreateRejected
            It drops them.
        """
        ref = object_ref(manifest)
        if self._are_kept or ref.kind != "Pod":
            return
        asked = image_volumes(mapping(manifest.get("spec")))
        if not asked:
            return
        try:
            made = ItemDecoder(PODS).item(await self._api.create(manifest, dry_run=True)).pod
        except ApiError:
            return
        dropped = dict(asked).keys() - dict(made.image_volumes if made else ()).keys()
        if dropped:
            text = f"the API server drops its image volume {min(dropped)}. {NEEDS}"
            raise CreateRejected(RejectionKind.INVALID, str(ref), text)
        self._are_kept = True
