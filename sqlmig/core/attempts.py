"""How often a file was tried, and how long to wait before the next try."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from sqlmig.core.text import counted

_FIRST_PAUSE = 0.2  # seconds; each pause is twice as long as the last
_LONGEST_PAUSE = 5.0
_MOST_DOUBLINGS = 10


@dataclass
class Attempts:
    """The tries of one file. limit: how often it is tried again before the run gives up.

    rows: the rows that committed runs of a file that repeats have changed. If there are
    more than at the last failure, the file makes progress, and its tries are counted again.
    """

    limit: int
    tries: int = 0
    rows: int = 0
    began: float = field(default_factory=time.monotonic)
    _rows_at_last_failure: int = 0

    def seconds(self) -> float:
        """Return the seconds since the first try began."""
        return time.monotonic() - self.began

    def note_failure(self) -> None:
        """Count a try that failed."""
        if self.rows > self._rows_at_last_failure:
            self.tries = 0
        self._rows_at_last_failure = self.rows
        self.tries += 1

    @property
    def are_used_up(self) -> bool:
        """Whether the run gives up."""
        return self.tries > self.limit

    def pause(self) -> float:
        """Return the seconds until the next try. It is random, so that two runners do not meet again."""
        doublings = min(self.tries - 1, _MOST_DOUBLINGS)
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * float(2**doublings))
        return longest * random.uniform(0.5, 1)

    def message_at_the_end(self) -> str:
        """Return the message of a run that gives up."""
        kept = "Nothing of this file was committed."
        if self.rows:
            kept = message_for_rows(self.rows)
        tries = "1 try" if self.tries == 1 else f"{self.tries} tries"
        return f"Gave up after {tries}. {kept}"


def message_for_rows(rows: int) -> str:
    """Return the message for rows that earlier runs of a file that repeats have changed."""
    verb = "is" if rows == 1 else "are"
    return f"{counted(rows, 'row')} {verb} committed. Run sqlmig again to continue."
