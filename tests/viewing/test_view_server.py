"""The server answers to the page that it has opened, and to nothing else on or off this machine."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scantling.core.errors import SettingsError
from scantling.viewing.opened import open_shown
from scantling.viewing.server import LARGEST_BODY, CaseServer, serve
from served import JSON, SHAPE, ask, correcting, masks_of_a_model, pictures, sent, serving


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("view")
    pictures(root / "data")
    masks_of_a_model(root / "masks", ["p2", "p3", "p4", "p5"])
    return root


@pytest.fixture(scope="module")
def looking(root: Path) -> Iterator[CaseServer]:
    with serving(CaseServer(open_shown(root / "data"))) as server:
        yield server


@pytest.fixture(scope="module")
def writing(root: Path) -> Iterator[CaseServer]:
    with serving(correcting(root, root / "corrections")) as server:
        yield server


def test_it_listens_on_this_machine_alone_and_says_where(looking: CaseServer) -> None:
    assert looking.http.server_address[0] == "127.0.0.1"
    assert looking.address == f"http://127.0.0.1:{looking.port}/{looking.token}/"
    assert len(looking.token) >= 32
    other = CaseServer(looking.shown)
    other.close()
    assert other.token != looking.token


def test_page_list_and_cases_are_delivered_with_headers_that_keep_them_here(looking: CaseServer) -> None:
    status, page = ask(looking, "GET", f"/{looking.token}/")
    assert (status, looking.nonce in page["page"]) == (200, True)
    headers = page["headers"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe-eval" not in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    status, listed = ask(looking, "GET", f"/{looking.token}/cases")
    assert (status, len(listed["cases"]), listed["writes"]) == (200, 7, False)
    status, case = ask(looking, "GET", f"/{looking.token}/case/p0", Host=f"localhost:{looking.port}")
    assert (status, case["shape"], case["mask"]) == (200, [1, *SHAPE], None)
    assert len(case["truth"]["layers"]) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "[::1]:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_hosts_and_other_pages_are_refused_even_with_the_token(
    looking: CaseServer, headers: dict[str, str]
) -> None:
    filled = {name: value.format(port=looking.port) for name, value in headers.items()}
    status, found = ask(looking, "GET", f"/{looking.token}/cases", **filled)
    assert (status, "cases" in found) == (403, False)


@pytest.mark.parametrize("path", ["/", "/cases", "/x/cases", "/{token}x/cases", "/{less}/case/p0", "/{token}%00/cases"])
def test_without_the_token_nothing_is_shown(looking: CaseServer, path: str) -> None:
    status, found = ask(looking, "GET", path.format(token=looking.token, less=looking.token[:-1]))
    assert status == 403
    assert "the token is missing or wrong" in found["error"]


@pytest.mark.parametrize(
    "name", ["../data/scantling.toml", "%2e%2e%2fscantling.toml", "/etc/passwd", "p0.png", "p0%00", "", "P0", "p0/"]
)
def test_a_case_is_asked_for_by_its_id_and_no_path_leads_anywhere(looking: CaseServer, name: str) -> None:
    for kind in ("case", "file", "static"):
        status, found = ask(looking, "GET", f"/{looking.token}/{kind}/{name}")
        assert (status, found["error"].startswith("there is no such")) == (404, True)


def test_an_address_without_its_last_slash_is_told_so(looking: CaseServer) -> None:
    status, found = ask(looking, "GET", f"/{looking.token}")
    assert (status, "ends with a slash" in found["error"]) == (404, True)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_answered(looking: CaseServer, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", looking.port, timeout=30)
    connection.request(method, f"/{looking.token}/cases")
    assert connection.getresponse().status == 501


def test_nothing_is_written_where_masks_are_only_shown(looking: CaseServer) -> None:
    mask = np.ones(SHAPE, bool)
    status, found = ask(looking, "POST", f"/{looking.token}/save/p0", sent(mask), **JSON)
    assert status == 403
    assert "start it with --correct" in found["error"]


def test_writes_need_the_token_the_right_page_and_a_body_of_some_size(root: Path, writing: CaseServer) -> None:
    mask, path = np.ones(SHAPE, bool), f"/{writing.token}/save/p2"
    assert ask(writing, "POST", "/save/p2", sent(mask), **JSON)[0] == 403
    assert ask(writing, "POST", path.replace(writing.token, "x" * 32), sent(mask), **JSON)[0] == 403
    assert ask(writing, "POST", path, sent(mask), **JSON, Origin="http://evil.example")[0] == 403
    assert ask(writing, "POST", path, sent(mask), **JSON, Host="evil.example")[0] == 403
    assert ask(writing, "POST", path, sent(mask), Content_Type="text/plain")[0] == 415
    assert ask(writing, "POST", path, b"", **JSON, Content_Length=str(LARGEST_BODY + 1))[0] == 413
    assert ask(writing, "POST", path, b"no json", **JSON)[0] == 400
    assert ask(writing, "POST", path, [1], **JSON)[0] == 400
    assert ask(writing, "POST", f"/{writing.token}/save/p0", sent(mask), **JSON)[0] == 404, "it has no mask to correct"
    assert ask(writing, "POST", f"/{writing.token}/save/p5", sent(mask), **JSON)[0] == 404, "it is a test case"
    assert not (root / "corrections" / "corrections.json").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers": [[5]]}, "has not 2 classes"),
        ({"layers": [[5], [5]]}, "has 5 pixels, expected 768"),
        ({"layers": [[-1, 769], [768]]}, "no run lengths"),
        ({"layers": [[True, 767], [768]]}, "no run lengths"),
        ({"layers": [[0, 768], [0, 768]]}, "pixels of two classes"),
        ({"shape": [2, 24, 16]}, "the image 1 x 24 x 32"),
        ({"shape": [1, 24]}, "no shape of three axes"),
        ({"shape": [1 << 15, 1 << 15, 1 << 15]}, "no shape of three axes"),
        ({"seconds": -1}, "no time that was spent"),
        ({"seconds": "long"}, "no time that was spent"),
        ({"author": "a\nb"}, "no name"),
        ({"author": 7}, "no name"),
    ],
)
def test_a_page_that_sends_nonsense_is_told_in_a_sentence(
    root: Path, writing: CaseServer, changed: dict[str, object], said: str
) -> None:
    content = {**sent(np.zeros(SHAPE, bool)), **changed}
    status, found = ask(writing, "POST", f"/{writing.token}/save/p2", content, **JSON)
    assert (status, said in found["error"]) == (400, True), found["error"]
    assert not (root / "corrections" / "corrections.json").exists()


def test_a_port_that_is_taken_is_refused_in_a_sentence(looking: CaseServer) -> None:
    with pytest.raises(SettingsError, match=r"--port \d+: cannot be used"):
        CaseServer(looking.shown, port=looking.port)


def test_it_ends_when_it_is_interrupted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = CaseServer(open_shown(root / "data", split="test"))
    assert len(server.shown.entries) == 2

    def interrupted() -> None:
        server.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "run", interrupted)
    told: list[str] = []
    serve(server, browser=False, told=told.append)
    assert told == [server.address]
    assert threading.active_count() >= 1
