"""Where a queue lives, as its status remembers it: what tells a new password from another NATS."""

from pydantic import Field

from protoqueue_operator.core.fields import Model


class Place(Model):
    """A NATS account. Nothing of it is secret."""

    servers: str = Field("", description="The servers, without credentials.")
    account: str = Field("", description="The account, as the server names it; empty where it does not tell.")
    secret: str | None = Field(None, description="The Secret that named them. Absent: the operator's own connection.")

    def __str__(self) -> str:
        return f"{self.servers} (account {self.account})" if self.account else self.servers

    def is_same_as(self, other: "Place") -> bool:
        """Whether they are one account of the same servers, through whatever Secret, in the servers' own words."""
        return bool(self.account) and self.account == other.account and self.servers == other.servers

    def may_be(self, other: "Place") -> bool:
        """Whether nothing that the servers tell makes them two."""
        same_account = self.account == other.account or not (self.account and other.account)
        return same_account and self.servers == other.servers
