from protoqueue_gateway.service.queue_details import _schedules


def test_a_schedule_says_when_it_fires_next_and_how_its_firings_are_treated() -> None:
    nightly = {"name": "nightly", "cron": "@daily", "overlap": "Skip", "jitter": "10m", "expires": "2h"}
    body = {
        "spec": {"schedules": [nightly, {"name": "pulse", "every": "10m", "suspend": True, "overlap": "Allow"}]},
        "status": {"schedules": [{"name": "nightly", "nextTime": "2026-01-01T00:00:00Z"}]},
    }
    first, second = _schedules(body)
    assert (first.options, first.is_suspended) == ("skips overlaps, jitter 10m, expires 2h", False)
    assert first.next_at is not None
    assert (second.options, second.is_suspended, second.next_at) == ("", True, None)
