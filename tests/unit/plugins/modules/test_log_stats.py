# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``log_stats`` from options to findings, on real files of every bad kind."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import sources as log_read
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import stats as log_main
from ansible_collections.opsrunner.runbook.plugins.module_utils._log import work as log_run

NOW = 1772366400.0  # 2026-03-01T12:00:00Z


def look(now: float = NOW, check_mode: bool = False, **log: Any) -> dict[str, dict[str, Any]]:
    """The findings of one log, by check."""
    job = {
        "logs": [{"name": "app", "zone": "UTC", **{key: value for key, value in log.items() if key != "module"}}],
        **log.get("module", {}),
    }
    result = log_main.log_stats(job, now, check_mode)
    json.dumps(result)
    return {item["check"].replace("log.app.", ""): item for item in result["findings"]}


def write(path: Path, *rows: dict[str, Any]) -> str:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def record(minute: int, level: str = "INFO", **more: Any) -> dict[str, Any]:
    """A record of 11:xx on the day of NOW."""
    return {"timestamp": f"2026-03-01T11:{minute:02d}:00Z", "level": level, "message": "m", **more}


def test_errors_are_counted_ranked_and_shown_newest_first(tmp_path: Path) -> None:
    rows = [record(n, "ERROR", message=f"no answer from 10.0.0.{n} after {n * 7} ms", request_id=f"r{n}") for n in range(12)]
    found = look(paths=[write(tmp_path / "a.log", *rows, record(30))], format="json")["errors"]
    assert (found["status"], found["value"], found["warning"]) == ("warning", 12, "10")
    assert found["evidence"]["log_signatures"] == ["12 × no answer from <address> after <n> ms"]
    assert found["evidence"]["log_newest"][0] == "2026-03-01T11:11:00Z ERROR no answer from 10.0.0.11 after 77 ms [r11]"
    assert found["evidence"]["log_levels"] == ["ERROR: 12", "INFO: 1"]


def test_an_error_rate_below_one_percent_is_not_rounded_to_nothing(tmp_path: Path) -> None:
    rows = [record(n % 60, status="success") for n in range(2999)] + [record(1, status="error"), record(2)]
    found = look(paths=[write(tmp_path / "a.log", *rows)], format="json", checks=[{"value": "error_rate", "warning": "0.01"}])["error_rate"]
    assert found["status"] == "warning"
    assert found["value"] == pytest.approx(100 / 3000)
    assert (found["params"]["share"], found["params"]["of"]) == ("0.0333", 3000)


def test_the_worst_five_minutes_are_found_by_event_time(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 4, 30, 31, 32, 33, 34, 34, 34]
    rows = [record(minute, "ERROR") for minute in random.Random(1).sample(times, len(times))]
    found = look(paths=[write(tmp_path / "a.log", *rows)], format="json", checks=[{"value": "burst", "warning": "6"}])["burst"]
    assert (found["status"], found["value"], found["evidence"]["log_burst_start"]) == ("warning", 7, "2026-03-01T11:30:00Z")


def test_slow_requests_are_counted_and_shown_with_their_id(tmp_path: Path) -> None:
    rows = [record(n, ms=n * 10, request_id=f"r{n}") for n in range(10)]
    fields = [{"name": "ms", "unit": "ms", "slow": 50, "buckets": [25, 50]}]
    checks = [{"value": "slow.ms", "warning": "3"}, {"value": "mean.ms", "critical": "40"}]
    found = look(paths=[write(tmp_path / "a.log", *rows)], format="json", fields=fields, checks=checks)
    assert (found["slow.ms"]["status"], found["slow.ms"]["value"]) == ("warning", 4)
    assert found["slow.ms"]["evidence"]["log_slowest"][0] == "2026-03-01T11:09:00Z 90 ms r9 m"
    assert (found["mean.ms"]["status"], found["mean.ms"]["value"]) == ("critical", 45)
    assert found["p95.ms"]["evidence"]["log_buckets"] == ["< 25: 3 (30%)", "25–50: 2 (20%)", "≥ 50: 5 (50%)"]


def test_the_window_goes_by_event_time_in_the_zone_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("2026-03-01 19:59:59,000 - a - ERROR - before\n2026-03-01 20:00:00,000 - a - ERROR - within\n", encoding="utf-8")
    found = look(paths=[str(path)], format="batch", zone="+09:00", window="1h")
    assert found["errors"]["value"] == 1
    assert found["source"]["evidence"]["log_outside"] == 1


def test_a_batch_that_never_succeeded_is_critical_and_says_never(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("2026-03-01 02:00:00,000 - a - INFO - BATCH PROCESS STARTED\n", encoding="utf-8")
    found = look(paths=[str(path)], format="batch", patterns=[{"name": "success", "regex": "BATCH PROCESS COMPLETED", "max_age": "25h"}])
    assert (found["age.success"]["status"], found["age.success"]["message"]) == ("critical", "log.never")


@pytest.mark.parametrize(("hour", "status"), [("10", "critical"), ("12", "ok")])
def test_the_last_success_is_found_in_compressed_files_and_aged_against_25_hours(tmp_path: Path, hour: str, status: str) -> None:
    (tmp_path / "a.log").write_text("2026-03-01 02:00:00,000 - a - INFO - started\n", encoding="utf-8")
    with gzip.open(tmp_path / "a.log.2.gz", "wt") as old:
        old.write(f"2026-02-28 {hour}:30:00,000 - a - INFO - BATCH PROCESS COMPLETED SUCCESSFULLY\n")
    patterns = [{"name": "success", "regex": "BATCH PROCESS COMPLETED SUCCESSFULLY", "max_age": "25h"}]
    found = look(paths=[str(tmp_path / "a.log")], format="batch", window="12h", patterns=patterns)
    assert found["age.success"]["status"] == status
    assert found["age.success"]["unit"] == "s"


def test_a_pattern_takes_numbers_from_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"2026-03-01 02:00:{n:02d},000 - a - INFO - response time: {n} ms\n" for n in range(1, 41)), encoding="utf-8")
    patterns = [{"name": "api", "regex": r"response time: (?P<value>\d+)", "unit": "ms"}]
    found = look(paths=[str(path)], format="batch", patterns=patterns, checks=[{"value": "p95.api", "warning": "30"}])
    assert found["p95.api"]["status"] == "warning"
    assert found["p95.api"]["value"] == pytest.approx(38, rel=0.011)


def test_a_pattern_may_be_anchored_at_the_message(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("2026-03-01T02:10:00Z batch finished\n", encoding="utf-8")
    log = {"paths": [str(path)], "format": "regex", "regex": r"(?P<time>\S+) (?P<message>.*)"}
    assert look(**log, patterns=[{"name": "done", "regex": "^batch finished$"}])["count.done"]["value"] == 1


def test_a_missing_log_is_unknown_and_an_optional_one_is_not(tmp_path: Path) -> None:
    found = look(paths=[str(tmp_path / "none.log")])
    assert {item["status"] for item in found.values()} == {"unknown"}
    assert found["source"]["params"]["reason"]["message"] == "reason.log_missing"
    assert {item["status"] for item in look(paths=[str(tmp_path / "none.log")], optional=True).values()} == {"ok"}


def test_an_empty_log_is_read_and_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.log").touch()
    found = look(paths=[str(tmp_path / "a.log")], window="1h")
    assert (found["errors"]["status"], found["errors"]["value"]) == ("ok", 0)


def test_a_format_that_fits_no_line_shows_the_line_and_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text('10.0.0.1 - - [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x"\n' * 3, encoding="utf-8")
    found = look(paths=[str(path)], format="json", checks=[{"value": "rate"}])
    assert (found["format"]["status"], found["format"]["params"]["nearest"]) == ("unknown", "combined")
    assert found["format"]["evidence"]["log_line"].startswith("10.0.0.1 - - [")
    assert (found["errors"]["status"], found["rate"]["status"]) == ("unknown", "unknown")


def test_a_binary_file_fits_no_format(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(random.Random(1).randbytes(5000))
    assert look(paths=[str(tmp_path / "a.log")])["format"]["status"] == "unknown"


def test_mixed_formats_are_counted_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(json.dumps(record(1)) + "\nplain words\n" + json.dumps(record(2)) + "\n", encoding="utf-8")
    found = look(paths=[str(path)], format="json")["unparsed"]
    assert (found["status"], found["params"]["count"], found["evidence"]["log_samples"]) == ("warning", 1, ["plain words"])


def test_a_window_over_a_log_without_times_is_unknown(tmp_path: Path) -> None:
    found = look(paths=[write(tmp_path / "a.log", {"level": "ERROR"}, {"level": "INFO"})], format="json", window="1h")
    assert (found["time"]["status"], found["errors"]["status"]) == ("unknown", "unknown")


def test_clock_jumps_do_not_disturb_the_extremes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", record(50), record(5), record(59), record(1), record(30))
    evidence = look(paths=[path], format="json")["source"]["evidence"]
    assert (evidence["log_first"], evidence["log_last"]) == ("2026-03-01T11:01:00Z", "2026-03-01T11:59:00Z")


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_compressed_files_say_the_same_as_plain_ones(tmp_path: Path, suffix: str) -> None:
    data = b"".join(json.dumps(record(n % 60, "ERROR" if n % 5 == 0 else "INFO")).encode() + b"\n" for n in range(20000))
    packed = tmp_path / f"a.log.1.{suffix}"
    if suffix == "zst":
        packed.write_bytes(subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout)
    else:
        packed.write_bytes(
            (gzip if suffix == "gz" else lzma).compress(data[: len(data) // 2])
            + (gzip if suffix == "gz" else lzma).compress(data[len(data) // 2 :])
        )
    found = look(paths=[str(tmp_path / "a.log")], format="json")
    assert (found["source"]["value"], found["errors"]["value"]) == (20000, 4000)


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_a_damaged_file_is_counted_up_to_the_damage_and_told(tmp_path: Path, suffix: str) -> None:
    r = random.Random(1)
    data = b"".join(json.dumps(record(n % 60, noise=r.getrandbits(200))).encode() + b"\n" for n in range(30000))
    packed = {"gz": gzip.compress, "xz": lzma.compress}.get(
        suffix, lambda raw: subprocess.run(["zstd", "-c"], input=raw, capture_output=True, check=True).stdout
    )(data)
    (tmp_path / f"a.log.{suffix}").write_bytes(packed[: len(packed) // 2])
    found = look(paths=[str(tmp_path / f"a.log.{suffix}")], format="json")["source"]
    assert (found["status"], found["params"]["reason"]["message"]) == ("unknown", "reason.log_damaged")
    assert 5000 < found["value"] < 25000


def test_a_small_file_that_unpacks_to_much_takes_little_memory(tmp_path: Path) -> None:
    line = json.dumps(record(1)).encode() + b"\n"
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(line * 400000))
    found = look(paths=[str(tmp_path / "a.log.gz")], format="json", module={"memory_limit": "512M", "workers": 1})
    assert (found["source"]["status"], found["source"]["value"]) == ("ok", 400000)


def test_things_that_are_no_files_are_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "dir.log").mkdir()
    (tmp_path / "loop.log").symlink_to("loop.log")
    found = look(paths=[str(tmp_path / name) for name in ("pipe.log", "dir.log", "loop.log")])["source"]
    assert found["status"] == "unknown"
    assert [problem.split()[1] for problem in found["evidence"]["log_problems"]] == ["not_a_file", "other", "not_a_file"]


def test_names_with_newlines_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a\nb.log", record(1))
    assert look(paths=[str(tmp_path / "*.log")], format="json")["source"]["value"] == 1


def test_a_file_that_two_names_and_globs_reach_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", record(1))
    os.link(path, tmp_path / "b.log")
    (tmp_path / "c.log").symlink_to("a.log")
    assert look(paths=[str(tmp_path / "*.log"), path], format="json")["source"]["value"] == 1


def test_secrets_in_lines_are_not_shown(tmp_path: Path) -> None:
    secret = "hunter2hunter2"
    messages = [
        f"login failed password={secret}",
        f"Authorization: Bearer {secret}",
        f'body {{"api_key": "{secret}"}}',
        f"GET https://kim:{secret}@host/x",
        f"calling /x?token={secret}&a=1",
        f"Cookie: sid={secret}",
    ]
    rows = [record(n, "ERROR", message=text, ms=99, request_id=f"token={secret}") for n, text in enumerate(messages)]
    path = tmp_path / "a.log"
    write(path, *rows)
    path.write_text(path.read_text(encoding="utf-8") + f"broken password: {secret}\n", encoding="utf-8")
    job = {
        "name": "app",
        "paths": [str(path)],
        "format": "json",
        "zone": "UTC",
        "fields": [{"name": "ms", "slow": 1}],
        "count_by": ["message"],
    }
    job["patterns"] = [{"name": "login", "regex": "login failed"}]
    assert secret not in json.dumps(log_main.log_stats({"logs": [job]}, NOW))


def test_a_prefix_of_compose_does_not_stand_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"analysis-service_1  | {json.dumps(record(n, 'ERROR'))}\n" for n in range(3)), encoding="utf-8")
    found = look(paths=[str(path)])
    assert (found["errors"]["value"], found["source"]["evidence"]["log_formats"]) == (3, ["json"])


def test_what_a_command_prints_is_read_and_its_failure_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", record(1, "ERROR"), record(2))
    assert look(command=["cat", path], format="json")["errors"]["value"] == 1
    failed = look(command=["sh", "-c", f"cat {path}; echo no such pod >&2; exit 3"], format="json")["source"]
    assert (failed["status"], failed["params"]["reason"]["params"]["detail"]) == ("unknown", "sh: no such pod")
    assert look(command=["/nonexistent/kubectl", "logs"])["source"]["status"] == "unknown"


def test_stack_traces_go_on_with_their_record(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(
        '2026-03-01 02:00:00,000 - a - ERROR - failed\nTraceback (most recent call last):\n  File "x.py"\nValueError: bad\n',
        encoding="utf-8",
    )
    found = look(paths=[str(path)], format="batch")
    assert (found["errors"]["value"], found["unparsed"]["value"], found["source"]["evidence"]["log_continued"]) == (1, 0.0, 3)


def test_a_record_of_the_journal_has_its_level_and_bytes_as_text(tmp_path: Path) -> None:
    rows = [
        {"__REALTIME_TIMESTAMP": "1772362800000000", "PRIORITY": "3", "MESSAGE": "disk is full", "_PID": "7"},
        {"__REALTIME_TIMESTAMP": "1772362801000000", "PRIORITY": "6", "MESSAGE": [104, 105]},
    ]
    found = look(paths=[write(tmp_path / "a.log", *rows)], format="json", time_field="__REALTIME_TIMESTAMP", level_field="PRIORITY",
                 message_field="MESSAGE", id_field="_PID", level_map={"3": "error"})  # fmt: skip
    assert found["errors"]["evidence"]["log_newest"] == ["2026-03-01T11:00:00Z ERROR disk is full [7]"]


def test_check_mode_does_not_move_the_cursor(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", record(1))
    module = {"state_dir": str(tmp_path / "state")}
    for check_mode, lines in ((True, 1), (False, 1), (False, 0), (True, 0)):
        found = look(paths=[path], format="json", cursor=True, module=module, check_mode=check_mode)
        assert (found["source"]["value"], found["cursor"]["status"]) == (lines, "ok")
        # Not even a folder is made.
        assert (tmp_path / "state").exists() or check_mode


def test_a_process_that_runs_out_of_time_is_told(tmp_path: Path) -> None:
    found = look(command=["sleep", "30"], module={"timeout": "200ms"})["source"]
    assert found["params"]["reason"]["message"] == "reason.log_timeout"


def test_a_command_ends_with_the_process_that_reads_it(tmp_path: Path) -> None:
    script = 'echo $$ > "$0"; exec sleep 1000'
    pid = tmp_path / "pid"
    pid.touch()
    for timeout in ("500ms", "5s", "60s"):  # it may take its time to start where much else is at work
        look(command=["sh", "-c", script, str(pid)], module={"timeout": timeout})
        if pid.read_text().endswith("\n"):
            break
    state = Path("/proc", pid.read_text().strip(), "stat")
    for _attempt in range(100):
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(state.read_text())


def test_an_expression_that_never_comes_to_an_end_is_told_however_small_the_log(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("a" * 60 + "b\n", encoding="utf-8")
    patterns = [{"name": "slow", "regex": "(a+)+$"}]
    found = look(paths=[str(tmp_path / "a.log")], format="text", patterns=patterns, module={"timeout": "300ms"})
    assert found["source"]["params"]["reason"]["message"] == "reason.log_timeout"
    assert found["count.slow"]["status"] == "unknown"


def test_the_memory_limit_is_not_that_of_a_command() -> None:
    # What is written in Go reserves more than half a gigabyte of addresses when it starts, and uses little of it.
    reserve = "import mmap; mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ); print('done')"
    found = look(command=[sys.executable, "-c", reserve], format="text", module={"memory_limit": "128M"})["source"]
    assert (found["status"], found["value"]) == ("ok", 1)


def test_what_was_read_of_a_log_before_its_reader_was_killed_is_not_called_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    do = log_run.Reader.do

    def fall(self: log_run.Reader, task: log_run.Task) -> None:
        if task.file is not None and task.file.path.endswith("b.log"):
            os.kill(os.getpid(), 9)
        do(self, task)

    monkeypatch.setattr(log_run.Reader, "do", fall)
    # Two processes, of which one comes upon what kills it.
    monkeypatch.setattr(log_run.Work, "_workers", lambda _self, _tasks: 2)
    paths = [write(tmp_path / f"{name}.log", *[record(1, "INFO")] * 20000) for name in "ab"]
    found = look(paths=paths, format="json", patterns=[{"name": "never", "regex": "SUCCESS", "max_age": "1h"}])
    assert {name: item["status"] for name, item in found.items() if name != "unparsed"} == {
        "source": "unknown",
        "errors": "unknown",
        "count.never": "unknown",
        "age.never": "unknown",
    }


def test_never_is_not_said_of_a_log_that_could_not_be_read_whole() -> None:
    patterns = [{"name": "success", "regex": "BATCH PROCESS COMPLETED", "max_age": "25h"}]
    found = look(command=["sh", "-c", "echo 2026-03-01 02:00:00 INFO started; exit 3"], format="leveled", patterns=patterns)
    assert (found["source"]["status"], found["age.success"]["status"]) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ({"paths": ["x.log"]}, "not an absolute path"),
        ({}, "one of paths, journal and command"),
        ({"paths": ["/x"], "journal": ["a"]}, "one of paths, journal and command"),
        ({"paths": ["/x"], "windo": "1h"}, "did you mean window?"),
        ({"paths": ["/x"], "format": "jsno"}, "did you mean json?"),
        ({"paths": ["/x"], "regex": "("}, "not a regular expression"),
        ({"paths": ["/x"], "regex": "a"}, "names no group"),
        ({"paths": ["/x"], "window": "1 fortnight"}, "not a duration"),
        ({"paths": ["/x"], "fields": [{"name": "ms", "buckets": [50, 25]}]}, "do not rise"),
        ({"paths": ["/x"], "fields": ["ms", "ms"]}, "is there twice"),
        ({"paths": ["/x"], "checks": [{"value": "error"}]}, "did you mean errors?"),
        ({"paths": ["/x"], "checks": [{"value": "errors", "warning": "x"}]}, "not a threshold range"),
        ({"paths": ["/x"], "fields": ["ms"], "checks": [{"value": "slow.ms"}]}, "no slow limit"),
        ({"paths": ["/x"], "patterns": [{"name": "a", "regex": "["}]}, "not a regular expression"),
        ({"paths": ["/x"], "zone": "Asia/Soul"}, "not known"),
        ({"paths": ["/x"], "count_by": ["function+"]}, "names no field beside a plus"),
        ({"paths": ["/x"], "time_format": "%Q"}, "not supported"),
        ({"paths": ["/x"], "format": "combined", "fields": ["byte"]}, "did you mean bytes?"),
        ({"paths": ["/x"], "since": "2026-03-02 00:00", "until": "2026-03-01 00:00"}, "ends before it starts"),
        ({"command": ["x"], "cursor": True}, "from where the last call ended"),
    ],
)
def test_bad_options_are_refused_with_what_would_be_right(log: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match="(?s).*" + words.replace("?", r"\?")):
        look(**log)


@pytest.mark.parametrize(
    ("path", "live"),
    [
        ("/l/app.log.1", "/l/app.log"),
        ("/l/app.log.12.gz", "/l/app.log"),
        ("/l/app.log-20260301", "/l/app.log"),
        ("/l/app.log-20260301.zst", "/l/app.log"),
        ("/l/app-20260301.log", "/l/app.log"),
        ("/l/app.1.log.gz", "/l/app.log"),
        ("/l/app.log.gz", "/l/app.log"),
        ("/l/app.log.bak", "/l/app.log.bak"),
        ("/l/app.log2", "/l/app.log2"),
        ("/l/application.log", "/l/application.log"),
    ],
)
def test_rotated_names_are_known(path: str, live: str) -> None:
    assert log_read.live_name(path, ["/l/app.log"]) == live


def several(folder: Path, **module: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A call for three logs, and its options one log at a time."""
    write(folder / "a.log", *[record(n % 60, "ERROR" if n % 7 == 0 else "INFO", ms=n) for n in range(500)])
    (folder / "b.log").write_text("2026-03-01 11:00:00,000 - app - ERROR - no\n" * 300)
    (folder / "c.log.gz").write_bytes(gzip.compress(b'{"timestamp": "2026-03-01T11:00:00Z", "level": "INFO"}\n' * 400))
    logs: list[dict[str, Any]] = [
        {"name": "a", "paths": [str(folder / "a.log")], "fields": ["ms"], "cursor": True},
        {"name": "b", "paths": [str(folder / "b.log")], "zone": "UTC"},
        {"name": "c", "paths": [str(folder / "c.log.gz")]},
    ]
    common = {"workers": 2, **module}
    return {"logs": logs, "state_dir": str(folder / "all"), **common}, [
        {"logs": [log], "state_dir": str(folder / "one"), **common} for log in logs
    ]


def test_several_logs_are_read_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, apart = several(tmp_path)
    wanted = {name: one for job in apart for name, one in log_main.log_stats(job, NOW)["summaries"].items()}
    runs: list[int] = []
    run = log_run.Work.run
    monkeypatch.setattr(log_run.Work, "run", lambda self, tasks, *rest: (runs.append(len(tasks)), run(self, tasks, *rest))[1])
    assert log_main.log_stats(together, NOW)["summaries"] == wanted
    assert len(runs) == 1
    again = log_main.log_stats(together, NOW)["summaries"]
    assert {name: one["lines"] for name, one in again.items()} == {"a": 0, "b": 300, "c": 400}


def test_a_log_that_ends_its_reader_leaves_the_others_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, _ = several(tmp_path)
    do = log_run.Reader.do

    def fall(self: log_run.Reader, task: log_run.Task) -> None:
        if task.file is not None and task.file.path.endswith("b.log"):
            os.kill(os.getpid(), 9)
        do(self, task)

    monkeypatch.setattr(log_run.Reader, "do", fall)
    found = log_main.log_stats(together, NOW)
    source = {item["check"]: item for item in found["findings"]}
    assert source["log.b.source"]["params"]["reason"]["message"] == "reason.log_killed"
    assert {name: one["lines"] for name, one in found["summaries"].items()} == {"a": 500, "b": 0, "c": 400}
    assert source["log.a.errors"]["value"] == 72


@pytest.mark.parametrize(("nice", "policy"), [(10, os.SCHED_BATCH), (19, os.SCHED_IDLE)])
def test_readers_give_way_and_keep_to_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nice: int, policy: int) -> None:
    do = log_run.Reader.do

    def tell(self: log_run.Reader, task: log_run.Task) -> None:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        (tmp_path / "told").write_text(json.dumps([os.nice(0), os.sched_getscheduler(0), limit]))
        do(self, task)

    monkeypatch.setattr(log_run.Reader, "do", tell)
    look(paths=[write(tmp_path / "a.log", record(1))], format="json", module={"nice": nice, "memory_limit": "128M"})
    before = os.nice(0)
    assert json.loads((tmp_path / "told").read_text()) == [min(19, before + nice), policy, 128 << 20]


def test_a_reader_keeps_to_its_share_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(log_run.time, "sleep", slept.append)
    reader = log_run.Reader((), {}, NOW, cpu=25.0)
    monkeypatch.setattr(log_run.time, "process_time", lambda: 2.0)
    monkeypatch.setattr(log_run.time, "monotonic", lambda: reader._started + 7.9)
    reader._pace()
    monkeypatch.setattr(log_run.time, "monotonic", lambda: reader._started + 8.1)
    reader._pace()
    assert slept == [pytest.approx(0.1)]
