"""A server for the browser of this machine alone: it shows cases by their ids, and takes corrections if it is asked to.

It listens on 127.0.0.1. Who has no token of this server is refused, and so is every request that comes through another
name of this machine (DNS rebinding) or from the page of another site. No path of a file is ever taken from a request.
"""

from __future__ import annotations

import hmac
import json
import math
import re
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from scantling.core.atomic import to_json
from scantling.core.errors import ScantlingError, SettingsError
from scantling.report.viewer import case_payload
from scantling.viewing.page import page
from scantling.viewing.shown import Shown

HOST = "127.0.0.1"
LARGEST_BODY = 64 << 20
"""Bytes that a correction may take."""
KEPT = 8
"""Cases that stay ready in memory."""
PATIENCE = 30.0
"""Seconds that a request may pause while it arrives."""
PAYLOAD = math.inf
"""No limit on the size of a case: nothing is kept in a page."""

Save = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Saves the mask of a case from what the page has sent; returns what the page is told."""


@dataclass
class CaseServer:
    """Cases behind an address with a token.

    Attributes:
        shown: the cases.
        save: takes corrections; None: nothing can be written.
        state: what the page is told of corrections when it opens.
        port: 0 for any that is free.
        limit: characters of a case, at most.
    """

    shown: Shown
    save: Save | None = None
    state: Callable[[], Mapping[str, Any]] = dict
    port: int = 0
    limit: float = PAYLOAD
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _kept: OrderedDict[str, bytes] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _running: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        ids = self.shown.ids
        self.nonce = secrets.token_urlsafe(16)
        handler = type("Handler", (_Handler,), {"app": self, "ids": ids})
        try:
            self.http = _Server((HOST, self.port), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"--port {self.port}: cannot be used ({reason}); choose another, or 0 for any"
            ) from None
        self.port = int(self.http.server_address[1])

    @property
    def address(self) -> str:
        """Where the page is, with the token."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def run(self) -> None:
        """Answer until `close` is called or Ctrl+C is pressed."""
        self._running = True
        try:
            self.http.serve_forever(poll_interval=0.2)
        finally:
            self.http.server_close()

    def close(self) -> None:
        """End `run`, from another thread, or free the port of a server that never ran."""
        if self._running:
            self.http.shutdown()
        else:
            self.http.server_close()

    def case(self, id: str) -> bytes:
        """The payload of a case as JSON; one is read at a time, and the last few stay ready."""
        with self._lock:
            if id in self._kept:
                self._kept.move_to_end(id)
                return self._kept[id]
            found = to_json(case_payload(self.shown.read(id), limit=self.limit), indent=None).encode()
            self._kept[id] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    def forget(self, id: str) -> None:
        """Read a case anew when it is next asked for."""
        with self._lock:
            self._kept.pop(id, None)

    def listed(self) -> dict[str, Any]:
        """What the page needs to begin."""
        return {
            "title": self.shown.title, "cases": [entry.facts() for entry in self.shown.entries],
            "remarks": list(self.shown.remarks), "writes": self.save is not None, **self.state(),
        }  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error; any other one is seen."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    app: ClassVar[CaseServer]
    ids: ClassVar[frozenset[str]]
    timeout = PATIENCE
    server_version, sys_version = "scantling", ""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""
        del format, args

    def do_GET(self) -> None:
        """The page, the list, or a case."""
        if (path := self._allowed()) is None:
            return
        if path == "":
            content = page(title=self.app.shown.title, nonce=self.app.nonce, writes=self.app.save is not None)
            self._send(HTTPStatus.OK, content.encode(), "text/html; charset=utf-8")
        elif path == "cases":
            self._json(HTTPStatus.OK, self.app.listed())
        elif path.startswith("case/"):
            self._answer(path.removeprefix("case/"), lambda id: self.app.case(id))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """Save the mask of a case."""
        if (path := self._allowed()) is None:
            return
        save = self.app.save
        if save is None:
            self._refuse(HTTPStatus.FORBIDDEN, "this server shows masks and takes none; start it with --correct")
        elif not path.startswith("save/"):
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected JSON")
        elif (content := self._body()) is not None:
            self._answer(path.removeprefix("save/"), lambda id: self._saved(save, id, content))

    def _saved(self, save: Save, id: str, content: Mapping[str, Any]) -> bytes:
        told = save(id, content)
        self.app.forget(id)
        return to_json(dict(told), indent=None).encode()

    def _answer(self, quoted: str, about: Callable[[str], bytes]) -> None:
        """Answer about a case by its id; what cannot be read or saved is a sentence."""
        id = unquoted(quoted)
        if id not in self.ids:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such case")
            return
        try:
            self._send(HTTPStatus.OK, about(id), "application/json")
        except SettingsError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except ScantlingError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except OSError as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise  # the browser has gone
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, error.strerror or "a file cannot be read or written")
        except MemoryError:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the case is too large for the memory that is left")

    def _allowed(self) -> str | None:
        """What is asked for, below the token; None, and a refusal is sent, where nobody may ask."""
        hosts = {f"{name}:{self.app.port}" for name in (HOST, "localhost")}
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host not in hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers to its own address alone")
            return None
        if origin is not None and origin != f"http://{host}":
            self._refuse(HTTPStatus.FORBIDDEN, "requests from other pages are refused")
            return None
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            self._refuse(HTTPStatus.FORBIDDEN, "requests from other pages are refused")
            return None
        token, _, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.app.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "the token is missing or wrong; use the address that the command prints")
            return None
        if self.path.endswith(self.app.token):
            self._refuse(HTTPStatus.NOT_FOUND, "the address of the page ends with a slash")
            return None
        return path

    def _body(self) -> dict[str, Any] | None:
        """The JSON object of a request; None, and a refusal is sent, if it is none or too large."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not re.fullmatch(r"\d{1,12}", length):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "expected the length of what is sent")
        elif int(length) > LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LARGEST_BODY >> 20} MiB")
        else:
            try:
                found = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict):
                return found
            self._refuse(HTTPStatus.BAD_REQUEST, "expected a JSON object")
        return None

    def _json(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
        self._send(status, to_json(dict(content), indent=None).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self.close_connection = True
        self._json(status, {"error": sentence})

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        nonce = f"'nonce-{self.app.nonce}'"
        policy = (
            f"default-src 'none'; script-src {nonce}; style-src 'unsafe-inline'; img-src data: blob:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def unquoted(text: str) -> str:
    """A part of an address without its percent signs; what is no UTF-8 becomes no id."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def serve(server: CaseServer, *, browser: bool, told: Callable[[str], None]) -> None:
    """Tell the address, open it in the browser if wanted, and answer until Ctrl+C."""
    import webbrowser

    told(server.address)
    if browser:
        threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
    try:
        server.run()
    except KeyboardInterrupt:
        return
