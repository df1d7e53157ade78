"""The benchmarks on a GPU: steps within their time, and a dry run of all of them on the CPU."""

import json
import shutil
import subprocess
import sys

import gpu
import pytest
import tables
import torch
from conftest import REPOSITORY

PASS, FAIL, SLEEP = (
    ["-c", "pass"],
    ["-c", "raise SystemExit(3)"],
    ["-c", "import time; time.sleep(600)"],
)


def test_what_becomes_of_commands():
    assert gpu.run([PASS, PASS], 60) == "done"
    assert gpu.run([FAIL, PASS], 60) == "failed"
    assert gpu.run([SLEEP, PASS], 0.1) == "stopped"


def test_a_process_ends_with_those_that_it_started():
    code = """import subprocess, sys
subprocess.run([sys.executable, "-c", "print(1, flush=True); import time; time.sleep(600)"])"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout.readline() == b"1\n"
        gpu.stop(process)
        assert process.stdout.read() == b""  # ends when nobody can write any more


def test_steps_in_their_time(tmp_path, capsys):
    file, steps = tmp_path / "gpu.json", {"first": [PASS], "second": [PASS, FAIL]}
    assert gpu.measure(steps, 1e-9, file, "a GPU") == {"first": "skipped", "second": "skipped"}
    assert "first: skipped, 1e-09 minutes are over" in capsys.readouterr().out
    assert gpu.measure(steps, 8, file, "a GPU") == {"first": "done", "second": "failed"}
    kept = json.loads(file.read_text())
    assert kept["environment"] == "a GPU"
    assert {title: step["outcome"] for title, step in kept["steps"].items()} == {
        "first": "done",
        "second": "failed",
    }
    capsys.readouterr()
    gpu.measure(steps, 8, file, "a GPU")
    again = capsys.readouterr().out
    assert "first: skipped, done before" in again
    assert "second: failed" in again
    gpu.measure(steps, 8, file, "another GPU")
    assert "skipped" not in capsys.readouterr().out


def test_steps_take_the_options_for_data_and_write_where_they_are_told(tmp_path):
    device, data = torch.device("cpu"), ["--root", "a folder"]
    for folder in (None, tmp_path):
        for title, commands in gpu.steps(device, data, folder).items():
            for command in commands:
                assert ("a folder" in command) == (title != "tests")
                assert (str(tmp_path) in " ".join(command)) == (bool(folder) and title != "tests")


def test_errors_name_the_value(small_root):
    for options, message in (
        (["--device", "cuda:77"], "got cuda:77"),
        (["--device", "cpu", "--minutes", "0"], "expected --minutes above 0, got 0"),
        (["--device", "cpu", "--minutes", "nan"], "expected --minutes above 0, got nan"),
    ):
        with pytest.raises(SystemExit, match=message):
            gpu.main(["--root", str(small_root), "--source", "auto", *options])


def test_figures_of_a_gpu_join_the_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "HERE", tmp_path)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.gpu() == "Not measured yet: CUDA was not run."
    for name in ("speed", "time-to-target"):
        content = json.loads((REPOSITORY / "benchmarks" / f"{name}-cpu.json").read_text())
        (tmp_path / f"{name}-cpu.json").write_text(json.dumps(content))
        (tmp_path / f"{name}-cuda.json").write_text(json.dumps(content | {"hardware": "a GPU"}))
    assert [block().count("a GPU") for block in (tables.speed, tables.time_to_target)] == [1, 1]
    assert "On a GPU: `quick` reaches 99.4 %" in tables.faster()
    gpu.measure({"a step": [PASS]}, 8, tmp_path / "gpu-cuda.json", "a GPU")
    assert len(tables.gpu().splitlines()) == 3
    sweep = REPOSITORY / "benchmarks" / "results" / "net5-quick.json"
    shutil.copy(sweep, tmp_path / "cuda-net5-quick.json")
    assert "| a step | done | " in tables.gpu()
    assert "| Net5, `quick`, side by side | 7,216 | 20 |" in tables.gpu()


@pytest.mark.long
def test_dry_run(small_root, tmp_path, monkeypatch):
    data = ["--root", str(small_root), "--source", "auto"]
    dry = ["--device", "cpu", "--dry-run", str(tmp_path), "--minutes", "30"]
    assert gpu.main([*data, *dry]) == 0
    steps = json.loads((tmp_path / "gpu-cpu.json").read_text())["steps"]
    assert [step["outcome"] for step in steps.values()] == ["done"] * 5
    for file in [tmp_path / "gpu-cpu.json", *(tmp_path / "results").glob("cpu-*.json")]:
        file.rename(file.with_name(file.name.replace("cpu", "cuda")))
    monkeypatch.setattr(tables, "HERE", tmp_path)
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    for title, _ in tables.GPU:
        assert f"| {title} |" in tables.gpu()
    assert "300 images (sample)" in tables.speed()
    assert "Net5, `best`" in tables.time_to_target()
