"""Send mail over SMTP: `protoqueue worker workers:worker`. SMTP_ADDRESS is `host:port`."""

import os
import smtplib
from email.message import EmailMessage

from pydantic import BaseModel

import protoqueue

SENDER = "shop@example.org"


class Mail(BaseModel):
    """One message to one recipient."""

    to: str
    subject: str
    body: str


worker = protoqueue.Worker("default/email", group="mailers")


@worker.handler(timeout=30)
def send(mail: Mail, task: protoqueue.Task) -> None:
    """Hand one mail to the server. A recipient it refuses for good is rejected, everything else is tried again."""
    host, _, port = os.environ["SMTP_ADDRESS"].rpartition(":")
    try:
        with smtplib.SMTP(host, int(port), timeout=10) as server:
            server.send_message(message(mail, task.id))
    except smtplib.SMTPRecipientsRefused as refused:
        code, text = refused.recipients[mail.to]
        if code >= 500:
            raise protoqueue.Reject(f"{code} {text.decode(errors='replace')}") from refused
        raise


def message(mail: Mail, task_id: str) -> EmailMessage:
    """The Message-ID comes from the task: should the mail be sent twice after a crash, readers see that it is one."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, mail.to, mail.subject
    made["Message-ID"] = f"<{task_id}@example.org>"
    made.set_content(mail.body)
    return made
