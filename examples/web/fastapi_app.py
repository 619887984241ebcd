"""The form behind FastAPI: `uvicorn fastapi_app:app`."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from signups import SignUp, enqueue

import protoqueue

app = FastAPI()


@app.post("/signups", status_code=202)
def sign_up(signup: SignUp) -> dict[str, object]:
    """A plain function: FastAPI runs it in a thread, where a blocking call does no harm."""
    receipt = enqueue(signup)
    return {"id": receipt.id, "duplicate": receipt.duplicate}


@app.exception_handler(protoqueue.QueueFull)
@app.exception_handler(protoqueue.Unavailable)
def later(_: Request, __: Exception) -> JSONResponse:
    """The visitor may try again; with the same address it is one sign-up."""
    return JSONResponse({"error": "please try again"}, status_code=503, headers={"Retry-After": "5"})
