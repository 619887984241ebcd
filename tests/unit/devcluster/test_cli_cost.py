import subprocess
import sys


def test_the_command_line_plugin_loads_none_of_the_cluster() -> None:
    """Every worker starts through the same command line: what the plugin imports, each of them pays for."""
    script = "import sys, protoqueue_devcluster.cli; print(*(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"aiohttp", "psutil", "yaml", "asyncio"}.isdisjoint(loaded)
