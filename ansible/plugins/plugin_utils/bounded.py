"""A call that ends in time, whatever hangs in it.

A connection to a device that goes down can hang in places that no option of ssh bounds (a server that stops in the
middle of the authentication, a proxy command). So the call is made in a process of its own, and the process is killed
with all that it started when its time is over.
"""
from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Any, Callable

from ansible.utils.display import Display


class Overdue(Exception):
    """The call did not end in time."""


def bounded(call: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return what call returns, which has to be fit for JSON; it must not raise."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(call, writer)
    os.close(writer)
    try:
        return json.loads(_read(reader, time.monotonic() + seconds))
    except ValueError as error:
        raise Overdue('no answer within %d s' % seconds) from error
    finally:
        os.close(reader)
        _end(child)


def _answer(call: Callable[[], dict[str, Any]], writer: int) -> None:
    """Be the child: never returns, so that nothing of the parent is run twice."""
    try:
        os.setsid()
        _silence(Display())
        data = json.dumps(call()).encode()
        while data:
            data = data[os.write(writer, data):]
    finally:
        os._exit(0)


def _silence(display: Any) -> None:
    """Let nothing be displayed, warnings neither: it goes through a lock that all workers share, by a thread of its own. A
    process that ends meanwhile takes the lock along, and every worker of the run then waits for ever."""
    display.verbosity = 0
    display._final_q = None
    display.display = lambda *args, **kwargs: None


def _read(reader: int, deadline: float) -> bytes:
    """Read to the end, or what came until the deadline."""
    data = b''
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return b''
        block = os.read(reader, 65536)
        if not block:
            return data
        data += block


def _end(child: int) -> None:
    """Kill the child and all that it started; what has ended already is no matter."""
    for kill in (os.killpg, os.kill):
        try:
            kill(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    os.waitpid(child, 0)
