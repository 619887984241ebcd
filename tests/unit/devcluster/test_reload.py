"""What of a folder is source, and what of it has changed."""

from pathlib import Path

from protoqueue_devcluster.reload import changed, read_sources


def test_source_is_what_a_worker_may_load_and_nothing_that_runs_write_themselves(tmp_path: Path) -> None:
    for name in ("app.py", "jobs/mail.py", "jobs/web.ts", ".protoqueue/x.py", "state/y.py", "venv/lib/z.py",
                 "node_modules/m.js", "jobs/__pycache__/c.py", "notes.txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "venv/pyvenv.cfg").write_text("")
    assert set(read_sources(tmp_path, tmp_path / "state")) == {
        Path("app.py"),
        Path("jobs/mail.py"),
        Path("jobs/web.ts"),
    }


def test_what_is_written_added_or_removed_has_changed(tmp_path: Path) -> None:
    for name in ("kept.py", "written.py", "removed.py"):
        (tmp_path / name).write_text("1")
    before = read_sources(tmp_path, tmp_path)
    assert changed(before, read_sources(tmp_path, tmp_path)) == []
    (tmp_path / "written.py").write_text("12")
    (tmp_path / "removed.py").unlink()
    (tmp_path / "added.py").write_text("1")
    assert [str(path) for path in changed(before, read_sources(tmp_path, tmp_path))] == [
        "added.py", "removed.py", "written.py",
    ]  # fmt: skip
