"""What becomes of Events when there are many, as client-go's recorder has it."""

from datetime import UTC, datetime, timedelta

from protoqueue_operator.api.v1alpha1.meta import Meta
from protoqueue_operator.runtime.event_correlator import BURST, REFILL, SIMILAR, Correlator, Event, Post
from unit.operator.samples import group, queue

START = datetime(2026, 1, 1, tzinfo=UTC)


class Recorder:
    """Stores what is to be sent, as the API server would."""

    def __init__(self) -> None:
        self.correlator = Correlator()
        self.stored: dict[str, dict[str, object]] = {}
        self.sent: list[Post] = []

    def say(self, message: str, at: datetime = START, *, meta: Meta | None = None, reason: str = "Drift") -> None:
        post, key = self.correlator.correlate(
            Event(meta or queue().meta, "Warning", reason, message, at, "example.dev/v1")
        )
        if post is None:
            return
        self.sent.append(post)
        name = post.name or f"event-{len(self.stored)}"
        self.stored[name] = self.stored.get(name, {}) | post.body
        if post.name is None:
            self.correlator.posted(key, name)


def test_the_same_event_again_is_counted() -> None:
    recorder = Recorder()
    for number in range(5):
        recorder.say("changed", START + timedelta(seconds=number))
    (event,) = recorder.stored.values()
    assert (event["count"], event["message"]) == (5, "changed")
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:04Z")


def test_similar_events_are_combined_once_there_are_many() -> None:
    recorder = Recorder()
    for number in range(SIMILAR + 5):
        recorder.say(f"changed {number}", START)
    assert len(recorder.stored) == SIMILAR + 1
    assert list(recorder.stored.values())[-1]["message"] == f"(combined from similar events): changed {SIMILAR + 4}"
    assert list(recorder.stored.values())[-1]["count"] == 5


def test_a_flood_about_one_object_is_cut_and_leaves_room_for_others() -> None:
    recorder = Recorder()
    for number in range(200):
        recorder.say(f"changed {number}", START + timedelta(seconds=0.3 * number))
    assert len(recorder.sent) == BURST
    recorder.say("changed", meta=group().meta)
    assert len(recorder.sent) == BURST + 1
    recorder.say("once more", START + timedelta(seconds=60) + REFILL)
    assert len(recorder.sent) == BURST + 2


def test_an_event_that_is_not_there_any_more_is_made_anew() -> None:
    recorder = Recorder()
    recorder.say("changed")
    _, key = recorder.correlator.correlate(Event(queue().meta, "Warning", "Drift", "changed", START, "example.dev/v1"))
    recorder.correlator.posted(key, "")
    recorder.say("changed")
    assert len(recorder.stored) == 2
