"""Generated files are committed; these tests fail when one is stale."""

import subprocess
import sys
from pathlib import Path

from protoqueue_operator.main import write_crds

ROOT = Path(__file__).parents[2]


def test_the_committed_crds_are_what_the_models_say(tmp_path: Path) -> None:
    write_crds(tmp_path)
    assert texts(tmp_path, "*.yaml") == texts(ROOT / "crds", "*.yaml"), "run `make crds`"


def test_the_committed_protobuf_modules_are_what_proto_says(tmp_path: Path) -> None:
    sources = sorted(str(path) for path in (ROOT / "proto").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    subprocess.run([*command, f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *sources], check=True)
    committed = ROOT / "worker-sdk/src/protoqueue/protocol"
    assert texts(tmp_path / "protoqueue", "*_pb2.py*") == texts(committed, "*_pb2.py*"), "run `make proto`"


def test_the_committed_openapi_document_is_what_the_gateway_serves() -> None:
    subprocess.run([sys.executable, str(ROOT / "hack/openapi.py"), "--check"], check=True)


def texts(root: Path, pattern: str) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob(pattern)}
