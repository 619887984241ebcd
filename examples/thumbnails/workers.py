"""Make thumbnails: `protoqueue worker workers:worker`."""

import os
from pathlib import Path

from png import NotAPicture, decode, encode
from pydantic import BaseModel

import protoqueue


class Upload(BaseModel):
    """A picture that somebody has stored, and where its thumbnail goes."""

    source: Path
    target: Path
    factor: int = 4


worker = protoqueue.Worker("default/thumbnails", group="scalers")


@worker.handler(executor="process", timeout=60)
def scale(upload: Upload) -> None:
    """Computes all the while: in a process of its own it holds up neither its neighbours nor the leases of their tasks.

    The thumbnail appears under its name only when it is complete, so a repeated task does no harm.
    """
    try:
        picture = decode(upload.source.read_bytes())
    except NotAPicture as error:
        raise protoqueue.Reject(f"{upload.source.name}: {error}") from error
    unfinished = upload.target.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(encode(picture.box_scaled(upload.factor)))
    unfinished.rename(upload.target)
