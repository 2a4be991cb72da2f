"""Plain HTTP with a Label Studio server: authorisation, bounded retries, and errors that say what to do."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from xmr_ray.component import Component
from xmr_ray.errors import AnnotatorError, ConfigError

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
Item = TypeVar("Item")

KEY_VARIABLE = "LABEL_STUDIO_API_KEY"
_TRY_AGAIN = {408, 409, 422, 425, 429}
_LONGEST_WAIT_S = 30.0
_WHERE_KEYS_ARE = "in Label Studio: Account & Settings -> Personal Access Token or Legacy Token; allowed kinds: Organization -> Access Token Settings"


class LabelStudioSettings(Component):
    """People answer in Label Studio (community edition, 1.17 or later); its key is read from LABEL_STUDIO_API_KEY and kept nowhere."""

    kind: Literal["label_studio"] = "label_studio"
    url: str = Field(default="http://localhost:8080", description="address of the server, with the path it is served below, if any")
    title_prefix: str = Field(default="xmr_ray", min_length=1, max_length=24, description="projects are called by this and their campaign")
    timeout_s: float = Field(default=120.0, gt=0, description="longest silence of the server")
    retries: int = Field(default=5, ge=0, description="further attempts after the server failed or did not answer")
    wait_s: float = Field(default=1.0, ge=0, description="pause before the second attempt; doubles each time, 30 s at most")
    tasks_per_import: int = Field(default=100, ge=1, description="tasks pushed in one request")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(f"expected an address such as http://localhost:8080, without user, password or key; the key goes into {KEY_VARIABLE}")
        return value.rstrip("/")


class Unanswered(Exception):  # noqa: N818 it is no failure yet
    """The server failed or fell silent: what was asked of it may have been done, or not."""


class LabelStudioServer:
    """A connection; use it in a `with` block. The key is only ever sent to `settings.url`."""

    def __init__(self, settings: LabelStudioSettings, transport: "httpx.BaseTransport | None" = None) -> None:
        self._httpx = import_httpx()
        self._key = read_key()
        self._settings = settings
        self._access: str | None = None
        self._client = self._httpx.Client(base_url=settings.url, timeout=settings.timeout_s, transport=transport)

    def __enter__(self) -> "LabelStudioServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **params: str | int) -> Any:
        """What the server says, as JSON; asked again while it fails. Raises `AnnotatorError`, `ConfigError`."""
        return self._patiently(lambda: self.once("GET", path, params=params))

    def supply(self, lacking: Callable[[], Sequence[Item]], send: Callable[[Sequence[Item]], None]) -> None:
        """Send what is lacking and look again, until nothing is: an answer that was lost on its way leads to nothing being there twice.

        Args:
            lacking: what is not on the server yet.
            send: sends it, with `once`.

        Raises:
            AnnotatorError: something is still lacking after all attempts.
        """
        failure = "it took everything, and shows less"
        for attempt in range(self._settings.retries + 1):
            if not (items := lacking()):
                return
            try:
                send(items)
            except Unanswered as error:
                failure = str(error)
                self._wait(attempt, failure)
        if lacking():
            raise AnnotatorError(f"{self._settings.url}: {failure}; see to the server and start again, nothing is asked for twice")

    def once(self, method: str, path: str, *, body: Any = None, params: Any = None) -> Any:
        """One request, its answer as JSON (None if empty). Raises `Unanswered`, `AnnotatorError`, `ConfigError`."""
        answer = self._send(method, path, body, params)
        if answer.status_code == 401 and self._access is not None:  # an access token lives for minutes
            self._access = None
            answer = self._send(method, path, body, params)
        return self._content(method, path, answer)

    def _send(self, method: str, path: str, body: Any, params: Any) -> "httpx.Response":
        headers = {"Authorization": self._authorisation()}
        return self._request(lambda: self._client.request(method, path, json=body, params=params, headers=headers))

    def _authorisation(self) -> str:
        if self._key.count(".") != 2:  # a personal access token is a JSON web token: three parts
            return f"Token {self._key}"
        if self._access is None:
            path = "/api/token/refresh/"
            answer = self._request(lambda: self._client.post(path, json={"refresh": self._key}))
            self._access = str(self._content("POST", path, answer)["access"])
        return f"Bearer {self._access}"

    def _request(self, send: "Callable[[], httpx.Response]") -> "httpx.Response":
        try:
            return send()
        except self._httpx.ConnectError as error:
            raise Unanswered(f"cannot be reached ({error}); is Label Studio running there?") from error
        except self._httpx.TransportError as error:
            raise Unanswered(f"the connection broke ({type(error).__name__}: {error})") from error

    def _content(self, method: str, path: str, answer: "httpx.Response") -> Any:
        where, status, said = f"{self._settings.url}: {method} {path}", answer.status_code, "" if answer.is_success else self._said(answer)
        if status >= 500 or status in _TRY_AGAIN:
            raise Unanswered(f"{method} {path} was answered with {status}: {said}")
        if status == 401:
            raise ConfigError(f"{where}: the key in {KEY_VARIABLE} is not accepted ({said}); make a new one, or allow its kind ({_WHERE_KEYS_ARE})")
        if status == 403:
            raise ConfigError(f"{where}: the owner of the key in {KEY_VARIABLE} may not do this ({said}); use one who may create projects")
        if status == 404 and path.endswith("/export"):
            raise AnnotatorError(f"{where}: not found; the project was deleted just now, or this is Label Studio Enterprise, which is not supported")
        if status >= 300:
            raise AnnotatorError(f"{where}: answered with {status}: {said} {answer.headers.get('location', '')}".rstrip())
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise AnnotatorError(f"{where}: the answer is not JSON; is this the address of Label Studio? ({self._said(answer)})") from error

    def _said(self, answer: "httpx.Response") -> str:
        try:
            said = answer.json()
        except ValueError:
            said = answer.text
        if isinstance(said, dict):
            said = {key: said[key] for key in ("detail", "validation_errors") if said.get(key)} or said
        text = " ".join(str(said).split())[:400]
        for secret in filter(None, (self._key, self._access)):
            text = text.replace(secret, "***")
        return text

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        for attempt in range(self._settings.retries + 1):
            try:
                return ask()
            except Unanswered as error:
                failure = str(error)
                self._wait(attempt, failure)
        raise AnnotatorError(f"{self._settings.url}: {failure}; see to the server and start again, nothing is lost")

    def _wait(self, attempt: int, failure: str) -> None:
        if attempt < self._settings.retries:
            seconds = min(self._settings.wait_s * 2**attempt, _LONGEST_WAIT_S)
            log.info("step=label_studio attempt=%d wait_s=%.1f failure=%r", attempt + 1, seconds, failure)
            time.sleep(seconds)


def read_key() -> str:
    """The key from the environment; raises `ConfigError` if there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {KEY_VARIABLE} is not set; annotator 'label_studio' needs a key ({_WHERE_KEYS_ARE})")
    return key


def import_httpx() -> ModuleType:
    """The optional package; raises `ConfigError` with the command that installs it."""
    try:
        import httpx
    except ImportError as error:
        raise ConfigError("annotator 'label_studio' needs httpx: pip install 'xmr-ray[label-studio]'") from error
    return httpx
