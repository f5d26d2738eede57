"""Database URLs: `sqlite:///jobd.db`, `mysql://user@host/db`, `mariadb://…`, `postgresql://…`.

The part after `?` contains options of the driver: for MySQL and MariaDB `unix_socket`, `ssl_ca`, `ssl_cert`, `ssl_key`,
`ssl_verify_cert`, `ssl_verify_identity` and `tls=require`; for PostgreSQL every libpq parameter, such as `sslmode` and
`host` (a socket's folder).
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from jobd.errors import ConfigError

SCHEMES = {
    "sqlite": "sqlite",
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgresql",
    "postgres": "postgresql",
}
_FORMS = "sqlite:///FILE, mysql://USER@HOST/NAME, mariadb://USER@HOST/NAME or postgresql://USER@HOST/NAME"
_ESCAPES = "in a password, / ? # [ ] @ % are written %2F %3F %23 %5B %5D %40 %25; or use password_file"


class Target(NamedTuple):
    """The address of a database, and the user and password for it."""

    kind: str  # "sqlite", "mysql" or "postgresql"
    path: str = ""  # of the SQLite file
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = None
    database: str = ""
    options: Mapping[str, str] = {}

    @property
    def label(self) -> str:
        """Its name in messages, without the password."""
        if self.kind == "sqlite":
            return self.path
        where = self.options.get("unix_socket") or self.options.get("host") or self.host or "localhost"
        return f"{self.kind} database {self.database!r} at {where}" + (f":{self.port}" if self.port else "")


def parse_url(url: str, password: str | None = None) -> Target:
    """The target that `url` names; `password` is used if the URL has none. Raises ConfigError."""
    path = url.removeprefix("sqlite:///")
    if path not in (url, "", ":memory:") and path.isprintable() and not any(char in path for char in "%?#"):
        return Target("sqlite", path=os.path.abspath(path))
    return _parse_url(url, password)


def _parse_url(url: str, password: str | None) -> Target:
    from urllib.parse import parse_qsl, unquote, urlsplit  # here, because its import takes as long as SQLite's

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # the error's text may contain a part of the password
        raise ConfigError("the database URL has no good host or port", f"write {_FORMS}; {_ESCAPES}") from None
    kind = SCHEMES.get(parts.scheme)
    if kind is None:
        raise ConfigError(f"the database URL begins with {parts.scheme!r}", f"write {_FORMS}")
    if kind == "sqlite":
        path = unquote(parts.path[1:])
        if parts.netloc or not path or path == ":memory:" or "\0" in path:
            raise ConfigError("the database URL names no file", "write sqlite:///FILE, or sqlite:////ABSOLUTE/FILE")
        if parts.query or parts.fragment:
            raise ConfigError("the database URL has options, and SQLite takes none", "write ? as %3F and # as %23")
        return Target(kind, path=os.path.abspath(path))
    if "@" in parts.path:  # a part of the password must not be shown as the name of the database
        raise ConfigError("the database URL has an @ after the host", _ESCAPES)
    name = unquote(parts.path[1:])
    if not name or "/" in name:
        raise ConfigError("the database URL names no database", f"write {_FORMS}")
    return Target(
        kind,
        host=parts.hostname,
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else password,
        database=name,
        options=dict(parse_qsl(parts.query, keep_blank_values=True)),
    )
