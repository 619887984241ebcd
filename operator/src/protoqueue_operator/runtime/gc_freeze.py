"""Keeps garbage collections short.

With thousands of resources a full collection looks through a million objects that are there to stay, and holds
everything up for half a second: samples would get too old. What is there once their number has settled is therefore
frozen. Most of it is freed all the same when its last reference goes; the rest at the next freeze.
"""

import gc

_WORTH_IT = 1000
"""Fewer resources than these are looked through in a moment."""


class GcFreeze:
    """Freezes what there is once the number of resources has settled."""

    def __init__(self) -> None:
        self._settled = self._before = 0

    def observe(self, resources: int) -> bool:
        """To be called now and then; returns whether what there is was frozen.

        That is when the number has changed by a tenth, and does no more.
        """
        before, self._before = self._before, resources
        moved = abs(resources - self._settled)
        if resources != before or moved < max(_WORTH_IT, self._settled) / 10:
            return False
        if resources < _WORTH_IT:
            if self._settled:
                gc.unfreeze()
            self._settled = 0
            return False
        self._settled = resources
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return True
