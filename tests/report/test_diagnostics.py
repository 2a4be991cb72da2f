import json

import pytest

from xmr_ray import storage
from xmr_ray.errors import RunError
from xmr_ray.report.diagnostics import diagnostics_rows, used_columns
from xmr_ray.report.experiment import read_experiment
from xmr_ray.report.settings import ReportSettings

CURVE = [(4, 0.3, 0.3), (8, 0.4, 0.4)]


def rows(path):
    return diagnostics_rows(read_experiment(str(path)), ReportSettings())


def write(place, **numbers):
    storage.write_whole(place.diagnostics, json.dumps(numbers).encode())


def test_means_over_the_seeds_that_have_a_number(tmp_path, make):
    first, second = (make.run(tmp_path, "ascmr", seed, CURVE) for seed in range(2))
    write(first.round(1), kl=0.5, density_ratio=1.0, space="fused")
    write(second.round(1), kl=0.25, space="fused")
    write(second.round(2), kl=0.125)
    make.run(tmp_path, "random", 0, CURVE)
    found = rows(tmp_path)
    assert [(row.arm, row.round_index, row.num_seeds, dict(row.numbers)) for row in found] == [
        ("ascmr", 1, 2, {"kl": 0.375, "density_ratio": 1.0}),
        ("ascmr", 2, 1, {"kl": 0.125}),
    ]
    columns = used_columns(found)
    assert [column.head for column in columns] == ["KL to\nall pairs", "density\nratio"]
    assert [[column.cell(row.numbers) for column in columns] for row in found] == [["0.375", "1.00"], ["0.125", "–"]]


def test_every_number_has_a_column_and_its_form(tmp_path, make):
    numbers = {"kl": 0.5, "mmd_squared": -0.00012, "mean_cosine": 0.301, "pool_cosine": 0.25, "density_ratio": 1.5, "cells_touched": 1234}
    numbers |= {"num_cells": 2000, "label_distance": 0.0625, "image_share": 0.6, "pool_image_share": 0.5}
    numbers |= {f"z_{part}": -0.5 for part in ("intra", "inter", "class")} | {f"share_{part}": 0.25 for part in ("intra", "inter", "class")}
    write(make.run(tmp_path, "ascmr", 0, CURVE).round(1), **numbers)
    (row,) = rows(tmp_path)
    columns = used_columns([row])
    assert {name for column in columns for name in column.needs} == set(numbers)
    assert [column.cell(row.numbers) for column in columns] == [
        *("0.500", "−0.0001", "0.30 (0.25)", "1.50", "1,234 of 2,000", "0.062", "60 % (50 %)"),
        *(["−0.50 (25 %)"] * 3),
    ]


def test_without_descriptions_there_is_no_table(tmp_path, make):
    make.run(tmp_path, "random", 0, CURVE)
    assert rows(tmp_path) == []
    assert used_columns([]) == []


def test_a_damaged_file_is_named(tmp_path, make):
    run = make.run(tmp_path, "ascmr", 0, CURVE)
    storage.write_whole(run.round(1).diagnostics, b"{")
    with pytest.raises(RunError, match=r"diagnostics\.json"):
        rows(tmp_path)
