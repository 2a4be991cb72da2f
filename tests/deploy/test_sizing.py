"""The sizing table of docs/deployment.md follows from its own rules and rates, and what the page links to exists."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
TEXT = PAGE.read_text()
SECONDS = {"s": 1, "min": 60}
RATE = {"512 + 512": 100_000 / 6.0 / 2, "4096 + 300": 100_000 / 20.6 / 2}
START_S = 6
ROUND_BYTES = 4 * (512 + 20) + 4 * 20 + 100


def rows():
    lines = [line for line in TEXT.splitlines() if re.match(r"\| (\d+,\d{3}|\d+ million) \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def number(text):
    return float(re.match(r"[\d.,]+", text)[0].strip(",").replace(",", "")) * (1e6 if "million" in text else 1)


def gigabytes(text):
    return [float(value) / (1000 if "MB" in text else 1) for value in re.findall(r"\d*\.?\d+", text)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} x {row[1]} on {row[3]}")
def test_a_row_follows_from_the_rules(row):
    pairs, shape, features, on_disk, actors, nodes, time, rates, memory = row[0], row[1], *row[2:]
    num_pairs, num_actors, num_nodes = number(pairs), number(actors), number(nodes)
    bytes_a_pair = 2 * sum(map(int, shape.split(" + ")))
    rate = num_actors * RATE[shape]
    value, unit = re.match(r"([\d.]+) (s|min)", time).groups()
    assert float(value) * SECONDS[unit] == pytest.approx(num_pairs / rate + START_S, rel=0.04)
    assert gigabytes(features) == [pytest.approx(num_pairs * bytes_a_pair / 1e9, rel=0.03, abs=0.05)]
    assert gigabytes(on_disk) == [pytest.approx(num_pairs * ROUND_BYTES / 1e9, rel=0.03, abs=0.05)]
    assert gigabytes(rates) == [pytest.approx(rate * size / 1e9, rel=0.03, abs=0.05) for size in (bytes_a_pair, ROUND_BYTES)]
    assert num_nodes == -(-num_actors // 16)
    assert gigabytes(memory) == [num_actors + 2 * num_nodes]


def test_the_table_reaches_a_hundred_million_pairs_of_both_shapes():
    assert {row[1] for row in rows() if row[0] == "100 million"} == set(RATE)


@pytest.mark.parametrize("name", ["deployment.md", "metrics.md"])
def test_links_lead_somewhere(name):
    page = PAGE.with_name(name)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []
