"""The page's routes. Nothing here changes anything: there is no button that starts or stops a training."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from oneflower.errors import StateError
from oneflower.journal import TrainingState
from oneflower.monitor import metrics
from oneflower.monitor.export import full_document
from oneflower.monitor.html.document import asset
from oneflower.monitor.html.page import live_page
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.web.access import Gate, Token
from oneflower.monitor.web.events import Events
from oneflower.monitor.web.headers import SafeHeaders
from oneflower.monitor.web.live import Live
from oneflower.monitor.web.login import Login
from oneflower.monitor.web.renderings import Renderings

Reader = Callable[[TrainingState, Safety, datetime], str | bytes]


def make_app(live: Live, token: Token) -> Starlette:
    """Return the app for one training; with a token, only whoever has it sees the training."""
    pages = Pages(live)
    routes = [
        Route("/", pages.page),
        Route("/events", Events(live).stream),
        Route("/metrics", pages.metrics),
        Route("/report", pages.report),
        Route("/report.json", pages.report_json),
        Route("/assets/page.js", pages.script),
        Route("/health", pages.health),
    ]
    if token.value:
        routes.append(Route("/login", Login(token).__call__, methods=["GET", "POST"]))
    middleware = [
        Middleware(SafeHeaders),
        Middleware(Gate, token=token),
        Middleware(GZipMiddleware, minimum_size=1000),
    ]
    return Starlette(routes=routes, middleware=middleware)


class Pages:
    """The answers that are complete at once."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._renderings = Renderings(lambda: live.state)

    async def page(self, request: Request) -> Response:
        """Return the page as it is now; it updates itself from there."""
        rendered = await run_in_threadpool(self._live.page)
        return HTMLResponse(live_page(rendered, theme=request.cookies.get("theme", "")))

    async def metrics(self, _request: Request) -> Response:
        """Return the metrics for Prometheus."""
        return await self._answer("metrics", metrics.exposition, metrics.CONTENT_TYPE)

    async def report(self, _request: Request) -> Response:
        """Return the report of this moment: one file that can be kept."""
        return await self._answer(
            "report",
            lambda view, safety, _now: render_report(view, safety=safety),
            "text/html; charset=utf-8",
        )

    async def report_json(self, _request: Request) -> Response:
        """Return the same as JSON."""
        return await self._answer(
            "json", lambda view, safety, now: json.dumps(full_document(view, now, safety)), "application/json"
        )

    async def script(self, _request: Request) -> Response:
        """Return the page's script; its address changes with its content, so it may be kept for ever."""
        headers = {"Cache-Control": "max-age=31536000, immutable"}
        return Response(asset("page.js"), media_type="text/javascript", headers=headers)

    async def health(self, _request: Request) -> Response:
        """Say that the server runs; it shows nothing of the training and needs no token."""
        return PlainTextResponse("ok\n")

    async def _answer(self, kind: str, reader: Reader, media_type: str) -> Response:
        """Answer with what a reader makes of the training; 503 while the journal is not known yet."""
        try:
            await run_in_threadpool(self._live.following.require_read)  # all at a time; a rendering is one
            content = await self._renderings.get(kind, lambda: run_in_threadpool(self._read, reader))
        except StateError as error:
            return PlainTextResponse(f"{error}\n", status_code=503, headers={"Retry-After": "5"})
        return Response(content, media_type=media_type)

    def _read(self, reader: Reader) -> str | bytes:
        with self._live.view() as (view, safety):
            return reader(view, safety, datetime.now(UTC))
