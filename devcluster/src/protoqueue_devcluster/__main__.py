"""`python -m protoqueue_devcluster up|down`: the commands without the SDK's command line."""

import typer

from protoqueue_devcluster.cli import register

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
register(app)

if __name__ == "__main__":
    app()
