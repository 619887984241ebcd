"""Welcome who has signed up: `protoqueue worker workers:worker`. SIGNUP_DIRECTORY is where the letters go."""

import os
from pathlib import Path

from signups import GROUP, QUEUE, SignUp

import protoqueue

worker = protoqueue.Worker(QUEUE, group=GROUP)


@worker.handler(timeout=30)
def welcome(signup: SignUp, task: protoqueue.Task) -> None:
    """Write a letter. Its name comes from the task: done twice after a crash, it is one letter."""
    letter = Path(os.environ["SIGNUP_DIRECTORY"], f"{task.id}.txt")
    letter.write_text(f"Dear {signup.email}, enjoy the {signup.plan} plan.\n")
