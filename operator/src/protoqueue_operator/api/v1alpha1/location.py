"""Where a queue lives, as stored in its status: distinguishes a new password from another NATS."""

from pydantic import Field

from protoqueue_operator.api.v1alpha1.fields import Model


class NatsLocation(Model):
    """NATS servers and account of a queue. Contains no secret."""

    servers: str = Field("", max_length=4096, description="Servers, without credentials.")
    account: str = Field(
        "", max_length=256, description="Account, as the server names it. Empty if the server does not tell."
    )
    secret: str | None = Field(
        None, max_length=253, description="Secret of the connection. Absent: the operator's own connection."
    )

    def __str__(self) -> str:
        return f"{self.servers} (account {self.account})" if self.account else self.servers

    def is_same_as(self, other: "NatsLocation") -> bool:
        """Whether both are the same account of the same servers, as the servers report it, through any Secret."""
        return bool(self.account) and self.account == other.account and self.servers == other.servers

    def may_be(self, other: "NatsLocation") -> bool:
        """Whether nothing that the servers report distinguishes them."""
        same_account = self.account == other.account or not (self.account and other.account)
        return same_account and self.servers == other.servers
