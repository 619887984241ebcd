"""Keeps garbage collections short.

With thousands of resources a full collection scans a million long-lived objects, and blocks everything for half a
second: samples would get too old. So all objects are frozen once the number of resources is stable. Most are still
freed when their last reference goes; the rest at the next freeze.
"""

import gc

_WORTH_IT = 1000
"""Fewer resources than this are scanned quickly."""


class GcFreeze:
    """Freezes all objects once the number of resources is stable."""

    def __init__(self) -> None:
        self._settled = self._before = 0

    def observe(self, resources: int) -> bool:
        """To be called periodically; returns whether objects were frozen.

        That happens when the number has changed by a tenth and is stable again.
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
