"""A Queue's schedules: when recurring tasks fire, and when they will next."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from protoqueue.protocol.cron import PATTERN as CRON_PATTERN
from protoqueue_operator.api.v1alpha1.fields import Duration, LabelName, Model, rules


class Schedule(Model):
    """A recurring task."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.cron) != has(self.every)", "a schedule has exactly one of cron and every"),
            ("!has(self.timeZone) || has(self.cron)", "timeZone goes with cron only"),
        )
    )

    name: LabelName = Field(description="Unique within the queue; part of each task's id.")
    cron: str | None = Field(
        None,
        max_length=128,
        pattern=CRON_PATTERN,
        description='When, in five fields as crontab has them, or in six with a second before them: "0 3 * * *" and '
        '"0 0 3 * * *" are every night at three. Numbers, *, ranges, lists and steps; names such as MON or JAN; 0 and '
        "7 are Sunday; @hourly, @daily, @weekly, @monthly and @yearly. Not L, W or #. A time that timeZone skips when "
        "clocks go forward does not come that day, and one that it repeats when they go back comes twice: the "
        "condition ClockChange says which.",
    )
    every: Duration | None = Field(None, description="A fixed interval instead of cron. At least 1s.")
    time_zone: str | None = Field(
        None, max_length=64, description="IANA name of the cron's time zone, such as Europe/Berlin. Absent: UTC."
    )
    type: str = Field("", max_length=256, description="The task's type: chooses the handler.")
    payload: str = Field(
        "{}",
        max_length=65536,
        description='The task\'s payload, as JSON in a string, such as \'{"kind": "full"}\'. '
        "The task must fit into limits.maxTaskSize.",
    )
    priority: int = Field(
        5, ge=1, le=10, description="Priority of the task, 1 (lowest) to 10; priorityLevels maps it to a level."
    )
    overlap: Literal["Allow", "Skip"] = Field(
        "Allow",
        description="What becomes of a firing while the one before it is unfinished: running, or waiting for its next "
        "attempt. Allow: it is run too. Skip: it is dropped, and counted with the outcome Skipped. The firings of one "
        'schedule have the unique key "schedule:<name>" then. Not with ordering, where a schedule\'s tasks run one '
        "after another, and not with delivery: Broadcast.",
    )
    expires: Duration | None = Field(
        None,
        description="How long after its time a firing may still be started. Later it is dropped as Expired, and kept "
        "as a dead letter with deadLetter.expired. Greater than jitter. At least 1s. Absent: no limit.",
    )
    suspend: bool = Field(
        False,
        description="Stop firing. Tasks that are there already are run. What would have fired meanwhile is not made up "
        "for.",
    )
    jitter: Duration | None = Field(
        None,
        description="Start each firing at a random moment between its time and so long after, so that the schedules of "
        "many queues do not start at once. Less than every. At least 1s. Not with ordering. Absent: at once.",
    )


class ScheduleStatus(Model):
    """Observed state of one schedule."""

    name: LabelName = Field(description="The schedule's name.")
    next_time: datetime = Field(description="When it fires next, as the operator evaluates its cron and time zone.")
