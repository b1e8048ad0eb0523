"""HTTP client of the scheduler's agent: bounded in time and size; answers are not trusted."""

from __future__ import annotations

import asyncio
import http.client
import json

from daskjob.backends.agent_answers import LIMIT_BYTES, TIMEOUT_SECONDS, NoAnswer, check_answer
from daskjob.core.manifests import Manifest


class AgentClient:
    """The agent of one scheduler."""

    def __init__(self, address: str, token: str, prefix: str = "") -> None:
        self._address = address
        self._token = token
        self._prefix = prefix

    async def get(self, route: str) -> Manifest:
        """Return the answer to a GET request.

        Raises
        ------
        NoAnswer
            No server listens, or the answer took longer than 2 s, is larger than 256 KiB or is
            not JSON.
        """
        return await asyncio.to_thread(self._ask, "GET", route, None, TIMEOUT_SECONDS)

    async def post(self, route: str, body: Manifest, timeout_seconds: float) -> Manifest:
        """Return the answer to a POST request that may take up to the given time."""
        data = json.dumps(body).encode()
        return await asyncio.to_thread(self._ask, "POST", route, data, timeout_seconds)

    def _ask(self, method: str, route: str, body: bytes | None, timeout_seconds: float) -> Manifest:
        connection = http.client.HTTPConnection(self._address, timeout=timeout_seconds)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Connection": "close"}
            connection.request(method, f"{self._prefix}/daskjob/v1/{route}", body, headers)
            response = connection.getresponse()
            text = response.read(LIMIT_BYTES + 1)
            check_answer(response.status, text)
            answer = json.loads(text)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NoAnswer(str(error)) from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise NoAnswer("the answer is not a JSON object")
        return answer
