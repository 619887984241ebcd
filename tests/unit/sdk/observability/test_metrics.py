from protoqueue.observability.metrics import MOST_SERIES, OTHER_TYPES, WorkerMetrics


def test_a_type_of_any_length_is_no_label_of_that_length() -> None:
    metrics = WorkerMetrics("default/q", "g")
    metrics.finished("x" * 100_000, "Done", 0.0, 0.0)
    tasks = next(family for family in metrics.collect() if family.name == "protoqueue_tasks")
    assert [sample.labels["type"] for sample in tasks.samples] == [OTHER_TYPES]


def test_producers_that_make_up_types_do_not_fill_the_worker_s_memory_nor_prometheus() -> None:
    metrics = WorkerMetrics("default/q", "g")
    for number in range(10 * MOST_SERIES):
        metrics.finished(f"type-{number}", "Done", 0.0, 0.0)
    metrics.finished("type-0", "Done", 0.0, 0.0)
    tasks = next(family for family in metrics.collect() if family.name == "protoqueue_tasks")
    series = {sample.labels["type"]: sample.value for sample in tasks.samples}
    assert len(series) == MOST_SERIES + 1
    assert (series["type-0"], series[OTHER_TYPES]) == (2, 9 * MOST_SERIES)
