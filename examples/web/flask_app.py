"""The same form behind Flask: `flask --app flask_app run`. In Django a view does the same."""

from flask import Flask, request
from pydantic import ValidationError
from signups import SignUp, enqueue

import protoqueue

app = Flask(__name__)


@app.post("/signups")
def sign_up() -> tuple[dict[str, object], int]:
    receipt = enqueue(SignUp.model_validate_json(request.get_data()))
    return {"id": receipt.id, "duplicate": receipt.duplicate}, 202


@app.errorhandler(ValidationError)
def refused(error: ValidationError) -> tuple[dict[str, object], int]:
    return {"error": error.errors(include_url=False, include_input=False)}, 422


@app.errorhandler(protoqueue.QueueFull)
@app.errorhandler(protoqueue.Unavailable)
def later(_: Exception) -> tuple[dict[str, object], int, dict[str, str]]:
    """The visitor may try again; with the same address it is one sign-up."""
    return {"error": "please try again"}, 503, {"Retry-After": "5"}
