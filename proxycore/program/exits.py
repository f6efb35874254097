"""How the program ends. A signal that cut it short ends it with 128 and the signal's number, as shells have it."""

from __future__ import annotations

import signal

OK = 0
BAD_CONFIGURATION = 1
USAGE = 2
NOT_STARTED = 3
DIFFERENT = 4
ADVISED = 5
INTERRUPTED = 128

MEANINGS = f"""\
exit codes:
  {OK}    all is well; after SIGTERM or SIGINT: drained, for timeouts.drain at most
  {BAD_CONFIGURATION}    the configuration is wrong
  {USAGE}    the command line is wrong
  {NOT_STARTED}    it could not start: an address is taken, a user, a file or an extra is missing
  {DIFFERENT}    a replay went otherwise than its recording
  {ADVISED}    check --lint: the configuration is good and has something to mend
  {INTERRUPTED + signal.SIGINT}  cut short by a second SIGINT
  {INTERRUPTED + signal.SIGPIPE}  whoever read its output has left, as `head` does
  {INTERRUPTED + signal.SIGTERM}  cut short by a second SIGTERM
"""


class Misused(Exception):
    """What was typed makes no sense; the message is for the person who typed it."""


class NotStarted(Exception):
    """The program can't do what it was asked for; the message is for the person who asked."""
