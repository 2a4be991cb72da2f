"""Authorisation, retries and errors of the connection, against a transport that answers as told."""

import json
import sys

import httpx
import pytest
from pydantic import ValidationError

from xmr_ray.errors import AnnotatorError, ConfigError
from xmr_ray.labels.label_studio_server import LabelStudioServer, LabelStudioSettings, Unanswered

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGci.eyJ0b2tlbi.c2lnbmF0dXJl"
SETTINGS = LabelStudioSettings(url="http://127.0.0.1:9/ls/", retries=3, wait_s=0.0)


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY)


def server(answer, settings=SETTINGS):
    """A server whose requests `answer(request)` answers; the requests are kept in `.seen`."""
    seen = []

    def handle(request):
        seen.append(request)
        return answer(request)

    made = LabelStudioServer(settings, httpx.MockTransport(handle))
    made.seen = seen
    return made


def failing(times, then, status=503):
    """An answer that fails so often first."""
    left = [times]

    def answer(request):
        left[0] -= 1
        if left[0] >= 0:
            if status is None:
                raise httpx.RemoteProtocolError("dropped", request=request)
            return httpx.Response(status, text="down")
        return httpx.Response(200, json=then)

    return answer


def test_a_legacy_key_is_sent_as_a_token_to_the_address_below_its_path():
    connection = server(lambda _: httpx.Response(200, json=[1]))
    assert connection.get("/api/x", a="b c") == [1]
    assert str(connection.seen[0].url) == "http://127.0.0.1:9/ls/api/x?a=b+c"
    assert connection.seen[0].headers["authorization"] == f"Token {LEGACY}"


def test_a_personal_key_is_exchanged_for_an_access_token_and_again_when_that_has_expired(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", PERSONAL)
    given = []

    def answer(request):
        if request.url.path == "/ls/api/token/refresh/":
            assert json.loads(request.content) == {"refresh": PERSONAL}
            assert "authorization" not in request.headers
            given.append(f"access{len(given)}")
            return httpx.Response(200, json={"access": given[-1]})
        expired = len(given) == 1 and len(connection.seen) > 2
        good = request.headers["authorization"] == f"Bearer {given[-1]}" and not expired
        return httpx.Response(200 if good else 401, json={"detail": "x"})

    connection = server(answer)
    assert connection.get("/api/x") == {"detail": "x"}
    assert connection.get("/api/x") == {"detail": "x"}
    assert given == ["access0", "access1"]


@pytest.mark.parametrize("status", [500, 502, 503, 429, None])
def test_reading_is_tried_again_a_bounded_number_of_times(status):
    assert server(failing(3, "there", status)).get("/api/x") == "there"
    connection = server(failing(4, "there", status))
    with pytest.raises(AnnotatorError, match=r"^http://127\.0\.0\.1:9/ls: .*(down|dropped).*start again"):
        connection.get("/api/x")
    assert len(connection.seen) == 4


def test_pauses_double_up_to_half_a_minute(monkeypatch):
    pauses = []
    monkeypatch.setattr("xmr_ray.labels.label_studio_server.time.sleep", pauses.append)
    settings = LabelStudioSettings(url="http://127.0.0.1:9", retries=7, wait_s=1.0)
    assert server(failing(7, "there"), settings).get("/api/x") == "there"
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_one_request_that_changes_something_is_never_sent_twice_by_itself():
    connection = server(failing(1, "there", None))
    with pytest.raises(Unanswered, match="RemoteProtocolError"):
        connection.once("POST", "/api/x", body={})
    assert len(connection.seen) == 1


def test_what_lacks_is_sent_until_nothing_lacks_and_no_further():
    there, failures = set(), [True, True, False]

    def send(items):
        there.add(items[0])
        if failures.pop(0):
            raise Unanswered("silence")
        there.update(items)

    server(lambda _: None).supply(lambda: sorted({1, 2, 3} - there), send)
    assert there == {1, 2, 3}
    assert failures == []


def test_what_still_lacks_after_all_attempts_is_an_error_that_says_why():
    def send(_):
        raise Unanswered("silence in the hall")

    with pytest.raises(AnnotatorError, match="silence in the hall; see to the server and start again"):
        server(lambda _: None).supply(lambda: [1], send)


def test_what_came_with_the_last_attempt_is_enough():
    there = []

    def send(items):
        there.append(items)
        if len(there) == 4:
            there.append("done")
        raise Unanswered("silence")

    server(lambda _: None).supply(lambda: [] if "done" in there else [1], send)
    assert len(there) == 5


@pytest.mark.parametrize(
    ("status", "message"), [(401, "is not accepted .*Legacy Token.*Access Token Settings"), (403, "may not do this .*create projects")]
)
def test_a_refused_key_says_what_to_enable_and_is_not_tried_again_nor_told(status, message, monkeypatch):
    for key in (LEGACY, PERSONAL):
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", key)
        connection = server(lambda _: httpx.Response(status, json={"detail": f"not {key}"}))  # noqa: B023
        with pytest.raises(ConfigError, match=message) as caught:
            connection.get("/api/x")
        assert key not in str(caught.value)
        assert "not ***" in str(caught.value)
        assert len(connection.seen) == 1


def test_a_server_that_does_not_run():
    def refuse(request):
        raise httpx.ConnectError("Connection refused", request=request)

    with pytest.raises(AnnotatorError, match=r"cannot be reached .*Connection refused.*is Label Studio running there"):
        server(refuse).get("/api/x")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(404, text="<html>no</html>"), "answered with 404: <html>no</html>"),
        (httpx.Response(301, headers={"location": "https://elsewhere"}), "answered with 301:  https://elsewhere"),
        (httpx.Response(400, json={"detail": "Validation error", "id": "x"}), r"400: \{'detail': 'Validation error'\}"),
        (httpx.Response(200, text="<html>log in</html>"), "not JSON; is this the address of Label Studio"),
    ],
)
def test_answers_that_are_of_no_use_are_told_once(answer, message):
    connection = server(lambda _: answer)
    with pytest.raises(AnnotatorError, match=message):
        connection.get("/api/x")
    assert len(connection.seen) == 1


def test_an_export_that_is_not_there_names_the_edition():
    with pytest.raises(AnnotatorError, match="Enterprise"):
        server(lambda _: httpx.Response(404, text="no")).get("/api/projects/3/export")


def test_an_empty_answer_is_none():
    assert server(lambda _: httpx.Response(204)).once("DELETE", "/api/tasks/1/") is None


@pytest.mark.parametrize("value", [None, "", "  "])
def test_without_a_key_the_variable_is_named(value, monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_API_KEY") if value is None else monkeypatch.setenv("LABEL_STUDIO_API_KEY", value)
    with pytest.raises(ConfigError, match="LABEL_STUDIO_API_KEY is not set"):
        LabelStudioServer(SETTINGS)


def test_without_httpx_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigError, match=r"pip install 'xmr-ray\[label-studio\]'"):
        LabelStudioServer(SETTINGS)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "http://ann:secret@host", "http://host?token=1", "http://host#x"])
def test_an_address_with_secrets_or_without_a_host_is_refused(url):
    with pytest.raises(ValidationError, match="LABEL_STUDIO_API_KEY"):
        LabelStudioSettings(url=url)


def test_a_key_has_no_place_in_the_settings():
    assert not [name for name in LabelStudioSettings.model_fields if "key" in name or "token" in name]
    with pytest.raises(ValidationError, match="api_key"):
        LabelStudioSettings(api_key=LEGACY)
