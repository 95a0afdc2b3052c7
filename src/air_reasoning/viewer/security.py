"""What keeps the viewer to its user: a strict policy for pages, the right host, optionally a token.

Model output is hostile: it is sanitised in the browser, and should that ever fail, the policy lets
no script run, nothing be loaded from elsewhere and nothing be sent away. The host check stops a
foreign page that points its own name at this machine (DNS rebinding).
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
COOKIE = "air_token"
LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """ASGI layer: refuses wrong hosts and missing tokens, adds the headers to every response."""

    def __init__(self, app: ASGIApp, token: str = "") -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        request = Request(scope, receive)
        answer = self._refused(request) or self.app
        await answer(scope, receive, send_guarded)

    def _refused(self, request: Request) -> Response | None:
        """What to answer instead of the page, or None."""
        if not self.token:
            if hostname(request.headers.get("host", "")) in LOCAL:
                return None
            return JSONResponse({"error": "this viewer answers on localhost only"}, status_code=421)
        given = request.query_params.get("token", "")
        if given and self._right(given):
            rest = [(k, v) for k, v in parse_qsl(request.url.query) if k != "token"]
            response = RedirectResponse(request.url.path + (f"?{urlencode(rest)}" if rest else ""))
            response.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            return response
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._right(_cookie(request)) or self._right(bearer):
            return None
        message = "open the address with ?token=... that `air view` printed"
        return JSONResponse({"error": message}, status_code=401)

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def hostname(host: str) -> str:
    """A Host header without its port: ``hostname("[::1]:7576")`` is ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def same_origin(request: Request) -> bool:
    """Whether a request that changes something came from our own page."""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin", "")
    ours = origin in (f"http://{host}", f"https://{host}")
    return ours and request.headers.get("x-air-view") == "1"


def _cookie(request: Request) -> str:
    try:
        cookies = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""
