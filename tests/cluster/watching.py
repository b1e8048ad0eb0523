"""Objects as a watch shows them, from kubectl's own watch, with a bound."""

from __future__ import annotations

import codecs
import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from typing import Any


def watched(get: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield objects as they are and whenever they change, until the time is over.

    ``get`` is a command line of ``kubectl get``. Where kubectl ends early, as it does when the API
    server ends the watch, it is started again.
    """
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        yield from _one_watch([*get, "--watch", "--output=json"], give_up)
        time.sleep(0.1)


def _one_watch(command: list[str], give_up: float) -> Iterator[dict[str, Any]]:
    decoder, text = json.JSONDecoder(), ""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        for piece in _pieces(process.stdout.fileno(), give_up):
            text = (text + piece).lstrip()
            while text:
                try:
                    found, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                yield found
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _pieces(descriptor: int, give_up: float) -> Iterator[str]:
    """Yield what can be read, until its end or the moment."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := give_up - time.monotonic()) > 0 and selector.select(left):
            data = os.read(descriptor, 65536)
            if not data:
                return
            yield decoder.decode(data)
