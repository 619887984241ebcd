"""The routes of the dashboard."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from protoqueue_gateway.api.operation import Services
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.dashboard import (
    actions,
    dead_letters_page,
    queue_page,
    queues_page,
    redrives_page,
    sign_in,
    task_page,
    tasks_page,
)
from protoqueue_gateway.dashboard.pages import PageEndpoint, error_page
from protoqueue_gateway.dashboard.rendering import HEADERS, compile_templates, static_file
from protoqueue_gateway.dashboard.sessions import Signer
from protoqueue_gateway.dashboard.sign_in import SessionCheck, SignIn
from protoqueue_gateway.dashboard.visits import Site

_MODULES = (queues_page, queue_page, dead_letters_page, tasks_page, task_page, redrives_page, actions, sign_in)
PAGES = [page for module in _MODULES for page in module.pages]


def dashboard_routes(services: Services) -> list[BaseRoute]:
    compile_templates()
    site = Site(services, Signer(services.signing_key))
    routes: list[BaseRoute] = [
        Route("/", _to_queues, methods=["GET"]),
        Route("/dashboard", _to_queues, methods=["GET"]),
        Route("/dashboard/sign-in", SignIn(site)),
        Route("/dashboard/session", SessionCheck(site)),
        Route("/dashboard/static/{version}/{name}", static_file, methods=["GET"]),
    ]
    # A fixed name goes before what may be any.
    paths = sorted(dict.fromkeys(page.path for page in PAGES), key=lambda path: path.endswith("}"))
    pages = {path: PageEndpoint(site, [page for page in PAGES if page.path == path]) for path in paths}
    routes += [Route(path, endpoint) for path, endpoint in pages.items()]
    return [*routes, Route("/dashboard/{path:path}", _not_there)]


async def _not_there(request: Request) -> Response:
    return error_page(request, Problem("NotFound", "the dashboard has no such page"))


async def _to_queues(_request: Request) -> Response:
    return RedirectResponse("/dashboard/queues", 303, HEADERS)
