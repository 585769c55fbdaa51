"""Serve the page and the images of the given files to the browser of this machine, and nothing else."""

import json
import secrets
import socket
import webbrowser
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from cosmicgate.extras import extra
from cosmicgate.viewer.assemble import page, policy
from cosmicgate.viewer.images import Images
from cosmicgate.viewer.runs import from_runs, runs_from_text

with extra("view"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
HOSTS = [HOST, "localhost"]
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": policy("'self'") + "; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Endpoint = Callable[[Request], Awaitable[Response]]


class AsciiJSONResponse(JSONResponse):
    """JSON in ASCII, which also holds the names of files that are no text."""

    def render(self, content: Any) -> bytes:
        """Encode values as JSON."""
        return json.dumps(content, allow_nan=False).encode()


class RequireToken:
    """Refuse requests whose path does not begin with the token; compare it in constant time.

    Parameters
    ----------
    app : ASGI application
        Application that gets all other requests.
    token : str
        First part of each path.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that it is refused."""
        if scope["type"] == "http":
            given = scope["path"].split("/")[1] if "/" in scope["path"] else ""
            if not secrets.compare_digest(given.encode(), self.token):
                text = "This address lacks the token that cosmicgate view printed."
                await PlainTextResponse(text, 403, HEADERS)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def application(images: Images, token: str) -> Starlette:
    """Make the application that answers the page.

    Images are addressed by their number alone: there is no address by which another file could be read.

    Parameters
    ----------
    images : Images
        Images of the given files.
    token : str
        Secret that each path begins with.
    """

    def answer(work: Callable[[Request, Any], Any]) -> Endpoint:
        """Make an endpoint of a function of the request and its JSON content, which runs in a thread."""

        async def endpoint(request: Request) -> Response:
            try:
                given = await request.json() if request.method == "POST" and await request.body() else None
                found = await run_in_threadpool(work, request, given)
            except IndexError as error:
                return AsciiJSONResponse({"error": str(error)}, 404, HEADERS)
            except (ValueError, OSError, ImportError, MemoryError) as error:
                return AsciiJSONResponse({"error": str(error) or type(error).__name__}, 409, HEADERS)
            return found if isinstance(found, Response) else AsciiJSONResponse(found, headers=HEADERS)

        return endpoint

    def show(_request: Request, _given: Any) -> Response:
        return HTMLResponse(page(title=f"{images.hdus[0].path.name} - CosmicGate"), headers=HEADERS)

    def about(_request: Request, _given: Any) -> Any:
        return images.about()

    def describe(request: Request, _given: Any) -> Any:
        return images.describe(request.path_params["image"])

    def tile(request: Request, _given: Any) -> Response:
        at = request.path_params
        image = images[at["image"]]
        found = image.tile(at["layer"], at["version"], at["level"], at["row"], at["column"])
        return Response(found.astype("<f4").tobytes(), media_type="application/octet-stream", headers=HEADERS)

    def handle_search(request: Request, _given: Any) -> Any:
        number = request.path_params["image"]
        images.check_number(number)
        if request.method == "POST":
            return images.start_search(number).to_json()
        found = images.search_of(number)
        if found is None:
            raise IndexError(f"no search of image {number} was started")
        if request.method == "DELETE":
            found.stop.set()
        return found.to_json()

    def clean(request: Request, given: Any) -> Any:
        image = images[request.path_params["image"]]
        runs = runs_from_text(given.get("hits") if isinstance(given, dict) else None)
        hits = from_runs(runs, image.hdu.shape, 1) > 0
        return {"version": image.clean(np.asarray(hits))}

    def overlay(request: Request, _given: Any) -> Any:
        return images.overlay(request.path_params["image"], request.path_params["other"]).to_json()

    def save(request: Request, given: Any) -> Any:
        return images[request.path_params["image"]].save(given)

    start = f"/{token}/"
    one = start + "api/{image:int}"
    routes = [
        Route(start, answer(show)),
        Route(start + "api", answer(about)),
        Route(one, answer(describe)),
        Route(one + "/tile/{layer}/{version:int}/{level:int}/{row:int}/{column:int}", answer(tile)),
        Route(one + "/search", answer(handle_search), methods=["GET", "POST", "DELETE"]),
        Route(one + "/overlay/{other:int}", answer(overlay)),
        Route(one + "/clean", answer(clean), methods=["POST"]),
        Route(one + "/labels", answer(save), methods=["POST"]),
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(RequireToken, token=token)]
    return Starlette(routes=routes, middleware=guards)


def serve(images: Images, port: int, browser: bool, announce: Callable[[str], object]) -> None:
    """Serve the page until the user interrupts it.

    Parameters
    ----------
    images : Images
        Images of the given files.
    port : int
        Port of the loopback address; 0: one that is free.
    browser : bool
        Whether the page is opened in the user's browser.
    announce : callable
        Called with the address of the page.

    Raises
    ------
    OSError
        The port is not free.
    """
    token = secrets.token_urlsafe(24)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            text = f"port {port} of {HOST} cannot be used ({error.strerror}): choose another with --port"
            raise OSError(text) from error
        listener.listen()
        address = f"http://{HOST}:{listener.getsockname()[1]}/{token}/"
        announce(address)
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(application(images, token), log_level="warning", access_log=False, ws="none")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            images.cancel()
