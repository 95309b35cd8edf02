"""ClickHouse's HTTP interface before the embedded engine: what `clickhouse-connect` needs of it.

Parameters, settings, Native inserts, zstd both ways, errors as a server writes them
(https://clickhouse.com/docs/interfaces/http). No native protocol, no sessions, no quotas.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from io import BytesIO

import zstandard
from aiohttp import BasicAuth, hdrs, web
from aiohttp.typedefs import Middleware

from stanzalake.store.chdb.engine import Engine, Refused, Statement

HOST = "127.0.0.1"
MAX_BODY = 256 * 1024 * 1024
"""Bytes of one request, and of what it unpacks to."""

LogIn = Callable[[str, str], Sequence[str]]
"""Takes a user and a password, and gives the statements that make a connection that user's.

It raises `Refused` for a user whom it does not know.
"""

_AUTHENTICATION_FAILED = 516
_CANNOT_DECOMPRESS = 271
_NOT_IMPLEMENTED = 48
_POCO_EXCEPTION = 1000
_TOO_LARGE = 131
_MAX_URL = 1024 * 1024
_MAX_FIELD = 128 * 1024
"""Bytes of one value, of the address or of a form; as a server's `http_max_field_value_size`."""
_STOP_SECONDS = 5.0
_THREADS = 8
_NO_SETTINGS = frozenset(
    {
        *("query", "database", "user", "password", "query_id", "session_id", "wait_end_of_query"),
        *("client_protocol_version", "enable_http_compression"),
    }
)
"""Parameters of a request that are no settings of the engine."""
_PARAMETER = "param_"


def runner(engine: Engine, log_in: LogIn, middlewares: Sequence[Middleware] = ()) -> web.AppRunner:
    """Give what serves the engine; the caller listens. At its end it interrupts what runs.

    Args:
        engine: What runs the statements; stays open.
        log_in: Who may run them.
        middlewares: aiohttp's, around every request.
    """
    application = web.Application(client_max_size=MAX_BODY, middlewares=middlewares)
    server = _Server(engine, log_in)
    application.router.add_get("/ping", _ping)
    application.router.add_route("*", "/", server.answer)
    application.on_shutdown.append(server.stop)
    return web.AppRunner(
        application,
        access_log=None,
        auto_decompress=False,
        max_line_size=_MAX_URL,
        shutdown_timeout=_STOP_SECONDS,
    )


def refused(code: int, text: str, name: str) -> Refused:
    """Give an error as ClickHouse writes it: https://clickhouse.com/docs/interfaces/http."""
    return Refused(f"Code: {code}. DB::Exception: {text}. ({name})")


def unknown(user: str) -> Refused:
    """Give the refusal of a user who is not known, or not by this password."""
    text = f"{user}: password is incorrect, or there is no user with such name"
    return refused(_AUTHENTICATION_FAILED, text, "AUTHENTICATION_FAILED")


class _Server:
    def __init__(self, engine: Engine, log_in: LogIn) -> None:
        self._engine = engine
        self._log_in = log_in
        # Its own: statements that take long do not keep the process's other work waiting.
        self._threads = ThreadPoolExecutor(_THREADS, "engine")

    async def answer(self, request: web.Request) -> web.Response:
        """Run the statement of a request; who sends it is asked before what it is."""
        try:
            preparation = self._log_in(*_credentials(request))
            form, body = await _content(request)
            work = partial(self._run, request, form, body, preparation)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Refused as error:
            return _refusal(error)

    def _run(
        self,
        request: web.Request,
        form: Mapping[str, str],
        body: bytes,
        preparation: Sequence[str],
    ) -> web.Response:
        content = _unpacked(body, request.headers.get(hdrs.CONTENT_ENCODING, ""))
        statement = _statement({**request.query, **form}, content)
        result = self._engine.run(statement, preparation)
        if not _packs(request):
            return web.Response(body=result)
        headers = {hdrs.CONTENT_ENCODING: "zstd"}
        return web.Response(body=zstandard.compress(result), headers=headers)

    async def stop(self, _: web.Application) -> None:
        """Interrupt what runs: nobody waits for it any more."""
        await asyncio.to_thread(self._engine.interrupt)
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


def _credentials(request: web.Request) -> tuple[str, str]:
    if hdrs.AUTHORIZATION in request.headers:
        try:
            basic = BasicAuth.decode(request.headers[hdrs.AUTHORIZATION], "utf-8")
        except ValueError:
            raise unknown("") from None
        return basic.login, basic.password
    user = request.headers.get("X-ClickHouse-User") or request.query.get("user", "default")
    return user, request.headers.get("X-ClickHouse-Key") or request.query.get("password", "")


async def _content(request: web.Request) -> tuple[Mapping[str, str], bytes]:
    """Give the fields of a form, or else the bytes of the body."""
    try:
        if request.content_type != "multipart/form-data":
            return {}, await request.read()
        fields = await request.post()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    return {name: value for name, value in fields.items() if isinstance(value, str)}, b""


def _packs(request: web.Request) -> bool:
    accepted = "zstd" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    return accepted and request.query.get("enable_http_compression") != "0"


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding not in {"", "zstd"}:
        raise refused(_NOT_IMPLEMENTED, "Unknown content encoding", "NOT_IMPLEMENTED")
    if not encoding:
        return body
    # Clients compress block by block: a body is many frames.
    reader = zstandard.ZstdDecompressor().stream_reader(BytesIO(body), read_across_frames=True)
    try:
        content = reader.read(MAX_BODY + 1)
    except zstandard.ZstdError:
        raise refused(_CANNOT_DECOMPRESS, "It is no zstd", "CANNOT_DECOMPRESS") from None
    if len(content) > MAX_BODY:
        raise _too_large()
    return content


def _too_large() -> Refused:
    return refused(_TOO_LARGE, f"A request is over {MAX_BODY} bytes", "TOO_LARGE_STRING_SIZE")


def _statement(given: Mapping[str, str], body: bytes) -> Statement:
    if any(len(value.encode()) > _MAX_FIELD for value in given.values()):
        raise refused(_POCO_EXCEPTION, "Field value too long", "POCO_EXCEPTION")
    query = given.get("query", "").encode()
    others = {name: value for name, value in given.items() if name not in _NO_SETTINGS}
    return Statement(
        text=b"\n".join(part for part in (query, body) if part),
        database=given.get("database", ""),
        parameters={
            name.removeprefix(_PARAMETER): value
            for name, value in others.items()
            if name.startswith(_PARAMETER)
        },
        settings={n: value for n, value in others.items() if not n.startswith(_PARAMETER)},
    )


def _refusal(error: Refused) -> web.Response:
    return web.Response(
        status=HTTPStatus.FORBIDDEN
        if error.code == _AUTHENTICATION_FAILED
        else HTTPStatus.INTERNAL_SERVER_ERROR,
        text=f"{error.text}\n",
        headers={"X-ClickHouse-Exception-Code": str(error.code)},
    )
