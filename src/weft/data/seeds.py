"""Every random number of a run derives from its seed and from what the number is for (law 9).

There is no generator whose state has to be saved: whoever needs randomness names the purpose and the place
(``derive_seed(seed, "order", epoch)``, ``derive_seed(seed, "dropout", step, micro_batch)``) and gets the same numbers in
a fresh process, in a resumed run and in any order of calls.
"""

from __future__ import annotations

import hashlib
import json


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 64-bit seed for one purpose: the first eight bytes of the SHA-256 of ``[seed, *purpose]`` written as JSON.

    Different arguments give independent seeds, also where they read alike (``1`` and ``"1"``, ``"a", "b"`` and ``"ab"``).

    Args:
        seed: the run's seed, any integer.
        purpose: what the numbers are for, then where: names, and the epoch, step or index.

    Returns:
        An integer in [0, 2**64), for ``numpy.random.PCG64``, ``torch.manual_seed`` and the like.
    """
    words = [int(seed), *(word if isinstance(word, str) else int(word) for word in purpose)]
    digest = hashlib.sha256(json.dumps(words, separators=(",", ":")).encode()).digest()
    return int.from_bytes(digest[:8], "big")
