"""Settings of an installation: from the environment, else from `dev.local.env`, else defaults.

`dev.local.env.example` explains each for people; a test keeps the two in step.
"""

from __future__ import annotations

import io
import ipaddress
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SETTINGS_FILE: Final = "dev.local.env"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
LIVE_JOURNAL: Final = Path("parallax.journal")
SANDBOX_JOURNAL: Final = Path("sandbox.journal")

MAX_FILE: Final = 65_536
"""Bytes of the settings file that are read: it has a dozen lines."""

MAX_KEY: Final = 4_096
"""Characters of a key that is read from a file."""

OTHERS: Final = 0o077
"""The bits of a file's mode that let the group or others at it."""

_HOST_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN: Final = re.compile(rf"https?://{_HOST_NAME.pattern}(:[0-9]{{1,5}})?")

Names: TypeAlias = Annotated[tuple[str, ...], NoDecode]
"""Names with commas between them."""


class SettingsInvalid(Exception):
    """A setting cannot be used; the words fit on one line and name it."""


class Settings(BaseSettings):
    """Everything that can be set. Names are those of the environment, in lower case. Empty is as good as absent."""

    model_config = SettingsConfigDict(
        env_file=SETTINGS_FILE, env_file_encoding="utf-8", extra="ignore", hide_input_in_errors=True
    )

    api_key: SecretStr | None = None
    """The exchange's key. Without one the sandbox is used."""
    api_key_file: Path | None = None
    """A file that holds the exchange's key, instead of `api_key`."""
    api_url: str | None = None
    """The exchange's base URL, ending in `/api`."""
    host: str = "127.0.0.1"
    """The address to serve at: a loopback one, as there is no login."""
    port: Annotated[int, Field(ge=1, le=65535)] = 4000
    """The port to serve at."""
    parallax_journal: Path | None = None
    """The journal's file."""
    parallax_calls_per_second: Annotated[float, Field(gt=0, le=10_000)] = 20.0
    """Calls to the exchange a second, on average."""
    parallax_calls_at_once: Annotated[int, Field(ge=3, le=1_000)] = 32
    """Calls to the exchange under way at one time."""
    parallax_grace_seconds: Annotated[float, Field(ge=5, le=3_600)] = 60.0
    """How long after a quote's end the exchange may still be at work on a request that it took in time."""
    parallax_allowed_origins: Names = ()
    """Sites, like `https://desk.example`, whose pages may call the API."""
    parallax_allowed_hosts: Names = ()
    """Host names that the desk answers to besides those of this machine."""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, values: Any) -> Any:
        # Here and not where they are read: an empty variable in the environment still wins over the file, so that
        # `API_KEY= API_URL= make run` is the sandbox.
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, object]", values)
        return {key: value for key, value in given.items() if not isinstance(value, str) or value.strip()}

    @model_validator(mode="before")
    @classmethod
    def _key_from_file(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, object]", values)
        named = given.get("api_key_file")
        if not named or (isinstance(named, str) and not named.strip()):
            return given
        if isinstance(key := given.get("api_key"), SecretStr) or (isinstance(key, str) and key.strip()):
            raise ValueError("API_KEY and API_KEY_FILE are both set; keep one")
        return given | {"api_key": _key_in(Path(str(named).strip()))}

    @field_validator("api_url", "host", mode="before")
    @classmethod
    def _trimmed(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def _plain_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value().strip()
        if not key.isascii() or not key.isprintable():
            raise ValueError("holds a character that no key has; copy it again")
        return SecretStr(key)

    @field_validator("api_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        plain, parts = False, None
        try:
            parts = urlsplit(value)
            plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            plain = plain and not (parts.query or parts.fragment or parts.username or parts.password)
        except ValueError:
            pass
        if not plain or not value.isprintable() or " " in value:
            raise ValueError("must be a plain http or https address, like https://exchange.example/api")
        if parts is not None and parts.scheme == "http" and not _on_loopback(parts.hostname or ""):
            raise ValueError("would send the key in clear: use https, or http to this machine alone")
        return value.rstrip("/")

    @field_validator("parallax_allowed_origins", "parallax_allowed_hosts", mode="before")
    @classmethod
    def _separated_by_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())

    @field_validator("parallax_allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((origin for origin in value if not _ORIGIN.fullmatch(origin)), None):
            raise ValueError(
                f"{wrong[:100]!r} is no origin; name each site like https://desk.example, with commas between"
            )
        return value

    @field_validator("parallax_allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((host for host in value if not _HOST_NAME.fullmatch(host)), None):
            raise ValueError(
                f"{wrong[:100]!r} is no host name; name each without a port, with commas between"
            )
        return value

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, value: str) -> str:
        if value not in LOOPBACK:
            raise ValueError(
                f"{value} would let others in, and the desk has no login yet; use 127.0.0.1 (or a tunnel to it)"
            )
        return value

    @model_validator(mode="after")
    def _key_and_url_go_together(self) -> Settings:
        if self.api_url and not self.api_key:
            raise ValueError("API_URL names a real exchange and API_KEY is not set; set it, or unset API_URL")
        if self.api_key and not self.api_url:
            raise ValueError("API_KEY is set and API_URL is not: say which exchange the key belongs to")
        return self

    @property
    def sandbox(self) -> bool:
        """Whether the bundled exchange is used."""
        return self.api_key is None

    @property
    def journal(self) -> Path:
        """Where the journal is."""
        return self.parallax_journal or (SANDBOX_JOURNAL if self.sandbox else LIVE_JOURNAL)


def load(**overrides: object) -> Settings:
    """The settings of this directory and environment; `overrides` (from a command line) win where not None.

    Raises `SettingsInvalid` with one line that names the setting and never shows a secret.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    _check_file(Path(SETTINGS_FILE))
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]).upper()
        words = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsInvalid(f"{name}: {words}" if name else words) from None


def _on_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _key_in(path: Path) -> str:
    """The key in a file of its own. Raises `ValueError`, never with what the file holds."""
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(MAX_KEY + 1).strip() if stat.S_ISREG(mode) else ""
    except OSError as error:
        raise ValueError(f"API_KEY_FILE: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"API_KEY_FILE: {path} holds a character that no key has") from None
    if not key or len(key) > MAX_KEY:
        raise ValueError(f"API_KEY_FILE: {path} is not a file with one key in it")
    if mode & OTHERS:
        raise ValueError(f"API_KEY_FILE: others may read {path}: chmod 600 {path}")
    return key


def _check_file(path: Path) -> None:
    """Refuse a settings file that would be read only in part, or not at all, or whose key others may read."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{path} is not UTF-8 text") from None
    if len(text) > MAX_FILE:
        raise SettingsInvalid(f"{path} is larger than {MAX_FILE} characters: it cannot be a settings file")
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            # Its text is not shown: it may be half a key.
            raise SettingsInvalid(
                f"{path} cannot be read in line {binding.original.line}: lines are NAME=value"
            )
        if (binding.key or "").upper() == "API_KEY" and (binding.value or "").strip() and mode & OTHERS:
            raise SettingsInvalid(f"{path} holds API_KEY and others may read it: chmod 600 {path}")
