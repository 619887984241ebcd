"""Tokens of a shared bucket that this process has leased."""

from protoqueue.ratelimit.gcra import Lease


class LeasedTokens:
    """Tokens that one process has leased and not yet spent.

    A token that nobody spends within the limit's slack of becoming ripe lapses. It does not go back: returning it would
    let a later window hold more than the limit allows, and it costs at most one lease each time demand ends.
    """

    def __init__(self, lease: Lease, leased_at_us: int) -> None:
        self._lease = lease
        self._leased_at_us = leased_at_us
        self._gone = 0  # spent or lapsed: tokens go in the order in which they ripen
        self.lapsed = 0

    @property
    def granted(self) -> int:
        return self._lease.granted

    @property
    def left(self) -> int:
        return self._lease.granted - self._gone

    def discard_stale(self, now_us: int, keep: int = 0) -> None:
        """Let lapse what is overdue, but for the last `keep` of the ripe ones."""
        overdue_at = now_us - self._lease.state.limit.slack_us
        if overdue_at <= self._leased_at_us:
            return
        stale = min(self._lease.ripe(overdue_at), self._lease.ripe(now_us) - keep)
        if stale > self._gone:
            self.lapsed += stale - self._gone
            self._gone = stale

    def usable(self, now_us: int) -> int:
        """How many may be spent now. For someone who waits: a late wake-up still finds one, so it always gets on."""
        self.discard_stale(now_us, keep=1)
        return max(0, self._lease.ripe(now_us) - self._gone)

    def ripe_in_us(self, now_us: int) -> int:
        """Until the next token is ripe."""
        return max(0, self._lease.ripe_at_us(self._gone) - now_us)

    def spend(self, count: int) -> None:
        self._gone += count
