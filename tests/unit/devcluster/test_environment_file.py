import subprocess

from protoqueue_devcluster.cluster import environment_file


def test_a_shell_that_sources_it_hands_the_variables_on(tmp_path) -> None:
    (tmp_path / "env").write_text(environment_file({"KUBECONFIG": "/a path/kubeconfig"}))
    script = f". {tmp_path}/env; sh -c 'echo \"$KUBECONFIG\"'"
    assert subprocess.check_output(["sh", "-c", script], text=True) == "/a path/kubeconfig\n"


def test_a_program_reads_one_name_and_value_per_line() -> None:
    text = environment_file({"KUBECONFIG": "/k", "PROTOQUEUE_NATS_URL": "nats://127.0.0.1:1"})
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert (values["KUBECONFIG"], values["PROTOQUEUE_NATS_URL"]) == ("/k", "nats://127.0.0.1:1")
