"""The page that people tick, in a real headless browser: what it saves is what was ticked, and closing the tab loses nothing."""

import json
import shutil
import time

import numpy as np
import pytest

from xmr_ray.labels.files import FilesAnnotator, page_of
from xmr_ray.labels.parse import Rules, parse_answers
from xmr_ray.labels.questions import Answer, Question
from xmr_ray.types import Selection

pytestmark = pytest.mark.integration

NAMES = ("animal", "plant", "tool </script><b>", "sky")
IDS = [2**62 + 1, 40, 7, 12]


@pytest.fixture
def browser(tmp_path):
    """Chromium without a window, whose downloads and profile lie in the test's folder."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium with its chromedriver on this machine")
    opened = []

    def open_one():
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--window-size=1200,850",
            f"--user-data-dir={tmp_path}/profile",
        ):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "saved")})
        opened.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.quit()


def asked(folder, *, multi_label=True):
    def ask(selection):
        return [Question(i, f"text of {i}", suggested={"animal": 0.9, "sky": 0.6}, reasons={"entropy": 1.5}) for i in selection.pair_ids_n.tolist()]

    FilesAnnotator(ask, NAMES, multi_label).request(Selection(np.array(IDS), np.zeros(4)), folder=str(folder))
    return "file://" + page_of(str(folder))


def saved(browser, folder):
    """Press the button and wait for the file."""
    browser.find_element("id", "save").click()
    for _ in range(100):
        found = [path for path in (folder / "saved").glob("*.jsonl") if path.stat().st_size]
        if found:
            return found[0].name, found[0].read_bytes()
        time.sleep(0.1)
    raise AssertionError("no file was saved")


def press(browser, *keys):
    for key in keys:
        browser.find_element("tag name", "body").send_keys(key)


def test_what_is_ticked_is_saved_and_outlives_the_tab(browser, tmp_path):
    address = asked(tmp_path / "ascmr-s0" / "rounds" / "001")
    first = browser()
    first.get(address)
    assert first.find_element("id", "count").text == "0 of 4 answered"
    assert first.find_element("id", "text").text == f"text of {IDS[0]}"
    assert not first.find_element("id", "save").is_enabled()
    boxes = first.find_elements("css selector", "#classes input")
    boxes[1].click()
    boxes[2].click()
    first.find_element("id", "next").click()
    press(first, "x", "\ue007")
    assert first.find_element("id", "count").text == "2 of 4 answered"
    first.find_element("id", "name").send_keys("ann")
    first.quit()

    second = browser()
    second.get(address)
    assert second.find_element("id", "count").text == "2 of 4 answered", "closing the browser lost nothing"
    assert second.find_element("id", "text").text == "text of 7", "it goes on where it was"
    press(second, "s", "\ue014", "0")
    assert second.find_element("id", "count").text == "4 of 4 answered"
    assert second.find_element("id", "done").is_displayed()
    name, data = saved(second, tmp_path)
    assert name == "answers-ascmr-s0-001.jsonl"
    found = parse_answers({name: data}, Rules(NAMES, True, np.array(IDS), np.array(IDS)))
    assert found.problems == ()
    expected = {IDS[0]: (1, 2), 40: None, 7: (0, 3), 12: ()}
    assert {answer.pair_id: answer.classes for answer in found.answers} == expected
    assert found.answers[0] == Answer(IDS[0], (1, 2), "ann")
    assert [entry for entry in second.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_where_a_pair_has_one_class_the_last_tick_counts_and_an_answer_can_be_taken_back(browser, tmp_path):
    one = browser()
    one.get(asked(tmp_path / "run-s0" / "rounds" / "000", multi_label=False))
    assert not one.find_element("id", "none").is_displayed()
    press(one, "1", "2", "\ue014", "3", "\ue003")
    assert one.find_element("id", "count").text == "1 of 4 answered"
    press(one, "n")
    assert one.find_element("id", "text").text == "text of 7"
    lines = [json.loads(line) for line in saved(one, tmp_path)[1].splitlines()]
    assert lines == [{"pair_id": IDS[0], "labels": ["plant"], "cannot_tell": False}]
