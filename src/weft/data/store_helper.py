"""A helper process of :mod:`weft.data.store_jobs`: it is told its share by standard input, and tells
what it made by standard output.
"""

from __future__ import annotations

import pickle
import signal
import sys

from weft.data.conversation_reader import CannotShare
from weft.data.shortcut import ShortcutWrong
from weft.data.store_jobs import Share
from weft.errors import WeftError


def main() -> None:
    """Do the share; errors for the user go back with the result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked for help is told, and ends the helpers
    share: Share = pickle.load(sys.stdin.buffer)  # from our own parent
    try:
        result: object = share.do()
    except (WeftError, ShortcutWrong, CannotShare) as error:
        result = error
    pickle.dump(result, sys.stdout.buffer)


if __name__ == "__main__":
    main()
