"""The records keep their own rules, and their rows are the figures of their runs."""

import pytest
import records
import seeds


@pytest.mark.parametrize("track", records.TRACKS, ids=lambda track: track.title)
def test_every_record_keeps_the_rules(track):
    for record in track.records:
        results = records.runs(record.sweep)
        assert (len(results) < 10) == ("(provisional)" in records.row(record)[0])
        for result in results:
            settings = result["settings"]
            assert (settings["split"], settings["training_images"]) == ("test", 60_000)
            assert settings["parameters"] < track.limit
            assert settings["epochs"] <= 15


@pytest.mark.parametrize("track", records.TRACKS, ids=lambda track: track.title)
def test_the_command_of_a_record_names_its_runs(track):
    for record in track.records:
        options = seeds.parse_arguments(record.options.split())
        results = records.runs(record.sweep)
        made = [result["settings"] for result in results]
        seeds_made = [settings["seed"] for settings in made]
        assert seeds_made == options.seeds[: len(seeds_made)]
        assert {settings["recipe"] for settings in made} == {options.recipe}
        assert {settings["net"].lower() for settings in made} == {options.net}
        assert {settings["epochs"] for settings in made} == {options.epochs}


def test_a_row_by_hand(monkeypatch):
    results = [
        {
            "settings": {"net": "Net5", "recipe": "best", "parameters": 7_216},
            "history": {"test_accuracy": [99.0, accuracy], "seconds": [10.0, 10.0 + extra]},
        }
        for accuracy, extra in ((99.4, 0), (99.5, 2), (99.6, 4))
    ]
    monkeypatch.setattr(records, "runs", lambda sweep: results)
    record = records.Record("any", "", "2026-01-02")
    title = "Net5, `best` (provisional)"
    figures = ("99.500", "0.100", "0.058", "99.40")
    assert records.row(record) == (title, "7,216", "2", "22", 3, *figures, "2026-01-02")
    stopped = records.row(records.Record("any", "", "2026-01-02", epoch=1))
    assert stopped[:7] == (title, "7,216", "1 of 2", "10", 3, "99.000", "0.000")
