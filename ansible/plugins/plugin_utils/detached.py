"""A step that works on by itself: the same call again and again until its result is there."""
from __future__ import annotations

import uuid
from typing import Any, Callable

from ansible.utils.display import Display

from ansible_collections.balena_community.migrate.plugins.plugin_utils import document
from ansible_collections.balena_community.migrate.plugins.plugin_utils.fate import line
from ansible_collections.balena_community.migrate.plugins.plugin_utils.remote import Answer

# Exit code of a step that works on. A call waits for so many seconds at first, and for twice as long each time, up to that.
UNDER_WAY = 5
WAIT, LONGEST = 5, 40


def follow(call: Callable[[list[str]], Answer], step: str, where: str) -> Answer:
    """Make a call, which is given more arguments, until its answer is a result; say now and then how far the step is."""
    run, wait = uuid.uuid4().hex, WAIT
    while True:
        answer = call(['--detach', '%ds' % wait, '--run-id', run])
        if answer.rc != UNDER_WAY:
            return answer
        Display().display('%s: %s' % (where, words(step, document.decode(answer, 'step ' + step))))
        wait = min(2 * wait, LONGEST)


def words(step: str, said: dict[str, Any]) -> str:
    """Say how far it is: of another step, if one that was begun before has to end first."""
    name = line(said.get('step') or '')
    text = step + ' is under way'
    if name != step:
        text = '%s waits for %s, which was begun before' % (step, name or 'another command')
    now = said.get('progress')
    if not isinstance(now, dict):
        return text
    done, total, seconds = (_number(now, member) for member in ('done', 'total', 'seconds'))
    if done > 0 and seconds > 0:
        text += ': %s, %d MiB' % (line(now.get('what', '')), int(done) >> 20)
        text += ' of %d MiB (%d %%)' % (int(total) >> 20, 100 * done // total) if total > 0 else ''
        text += ', %.1f MiB/s' % (done / seconds / 1048576)
    return text


def _number(progress: dict[str, Any], member: str) -> float:
    found = progress.get(member)
    return found if isinstance(found, (int, float)) else 0
