# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduled jobs: data in, units and cron lines out, runs recorded by the script itself, all or nothing on the host."""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import subprocess

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as managed_files
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.schedule import apply as schedule_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.schedule import jobs

# Its records belong to its user: only root can give files to another one.
USER = pwd.getpwuid(os.geteuid()).pw_name
JOB = {"name": "nightly", "command": "/bin/true", "calendar": ["*-*-* 02:00:00"], "timeout": "1h", "user": USER}
TIMES = """
  Original form: Sun 03:00
Normalized form: Sun *-*-* 03:00:00
    Next elapse: Sun 2026-11-22 03:00:00 KST
       (in UTC): Sat 2026-11-21 18:00:00 UTC
       From now: 24h left
       Iter. #2: Sun 2026-11-29 03:00:00 KST
       (in UTC): Sat 2026-11-28 18:00:00 UTC

Normalized form: *-*-* 02:00:00
    Next elapse: Mon 2026-11-23 02:00:00 UTC
"""


def parse(*given, **options):
    return jobs.parse({"jobs": list(given), **options})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"command": None}, "jobs[0].command: is required and is missing"),
        ({"command": "true"}, "jobs[0].command: 'true': name the program by its whole path"),
        ({"command": "/bin/sh -c 'x"}, 'jobs[0].command: "/bin/sh -c \'x" cannot be split into words: No closing quotation'),
        ({"calendar": None}, "jobs[0].calendar: say when: calendar (for a systemd timer) or cron, one of them"),
        ({"cron": "0 2 * * *"}, "jobs[0].calendar: say when: calendar (for a systemd timer) or cron, one of them"),
        ({"timeout": None}, "jobs[0].timeout: is required: a job that never ends blocks all that follow"),
        ({"timeout": "long"}, "jobs[0].timeout: 'long' is not a duration (did you mean 30, 250ms, 5m, 25h, 30d or 1w?)"),
        ({"calender": "x"}, "jobs[0].calender: unknown key 'calender' (did you mean calendar?)"),
        ({"user": "a b"}, "jobs[0].user: 'a b' is no user or group name"),
        ({"environment": {"A-B": "1"}}, "jobs[0].environment.A-B: 'A-B' is no name of an environment variable"),
        ({"environment": {"A": "1\n2"}}, "jobs[0].environment.A: holds a line break or another control character: '1\\n2'"),
        ({"log_rotate": 7}, "jobs[0].log_rotate: rotates log_file, and there is none"),
        ({"after": ["network"]}, "jobs[0].after[0]: 'network' is no name of a unit (did you mean network-online.target?)"),
        (
            {"calendar": None, "cron": "0 2 * *"},
            "jobs[0].cron: '0 2 * *' has 4 fields, cron has five: minute, hour, day, month, weekday (did you mean 0 2 * * *?)",
        ),
        ({"calendar": None, "cron": "60 2 * * *"}, "jobs[0].cron: '60' is no minute of cron (0 to 59)"),
        ({"calendar": None, "cron": "0 2 * * moon"}, "jobs[0].cron: 'moon' is no day of week of cron (0 to 7)"),
        ({"calendar": None, "cron": "0 2 * * *", "group": "x"}, "jobs[0].group: cron has no such thing; use calendar"),
    ],
)  # fmt: skip
def test_bad_jobs_are_refused_with_one_clear_message(change, expected):
    with pytest.raises(OptionError) as caught:
        parse({**JOB, **change})
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/bin/true", "/bin/true"),
        ("a b", '"a b"'),
        ("50%", "50%%"),
        ("$HOME", "$$HOME"),
        ('say "x" \\', '"say \\"x\\" \\\\"'),
        ("", '""'),
        ("a;b", '"a;b"'),
    ],
)
def test_a_word_of_a_unit_is_quoted_and_expands_nothing(word, expected):
    assert jobs.systemd_word(word) == expected


def test_units_say_what_the_job_says():
    more = {"user": "batch", "env_file": "/etc/a.env", "lock": "batch", "lock_wait": "2h", "random_delay": "5m"}
    job = parse({**JOB, **more, "after": ["network-online.target"]}).jobs[0]
    service, timer = jobs.service_unit(job).decode(), jobs.timer_unit(job).decode()
    assert "ExecStart=/usr/local/lib/opsrunner/job -n nightly -k batch -w 7200 -t 3600 -- /bin/true\n" in service
    assert "User=batch\nEnvironmentFile=/etc/a.env\nTimeoutStartSec=10860\n" in service
    assert "After=network-online.target\nWants=network-online.target\n" in service
    assert "OnCalendar=*-*-* 02:00:00\nRandomizedDelaySec=300\nPersistent=true\n" in timer
    assert "[Install]" not in service


def test_a_line_of_cron_survives_cron_and_the_shell():
    job = parse({**JOB, "calendar": None, "cron": "7 * * * *", "user": "watch", "command": ["/bin/echo", "50% $x 'y'"]}).jobs[0]
    line = jobs.cron_file(job).decode().splitlines()[-1]
    assert line.startswith("7 * * * * watch /usr/local/lib/opsrunner/job ")
    command = line.split(" watch ", 1)[1]
    assert "%" not in command.replace("\\%", "")
    assert shlex.split(command.replace("\\%", "%"))[-2:] == ["/bin/echo", "50% $x 'y'"]


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("0 2 * * *", 24),
        ("*/15 * * * *", 0.25),
        ("0 3 * * 0", 168),
        ("0 3 * * sun", 168),
        ("0 9,18 * * *", 15),
        ("0 0 1 * *", 31 * 24),
        ("0 10 * * mon-fri", 72),
        ("0 0 1 jan *", 366 * 24),
        ("0 0 1,15 * 1", 7 * 24),
    ],
)
def test_the_longest_gap_of_a_cron_schedule(text, hours):
    assert jobs.cron_gap(jobs.parse_cron(text, "cron")) == hours * 3600


def test_times_of_a_calendar_are_read_in_utc():
    times = jobs.calendar_times(TIMES)
    assert times == [times[0], times[0] + 32 * 3600, times[0] + 168 * 3600]
    assert jobs.calendar_gap(TIMES) == (5 * 24 + 16) * 3600
    assert jobs.calendar_gap("Next elapse: never") is None


@pytest.mark.parametrize(("gap", "delay", "hours"), [(24, 0, 25), (1, 0, 1.25), (168, 300, 169 + 300 / 3600)])
def test_a_run_is_missed_after_the_gap_and_up_to_an_hour(gap, delay, hours):
    assert jobs.default_max_age(gap * 3600, delay) == pytest.approx(hours * 3600)


def test_the_history_is_read_past_torn_lines():
    history = jobs.read_history("installed 10\nstarted 20 7\nended 25 0\ngarbage\nstarted\nskipped 26\nstarted 30 8\nended 33 124\nsta")
    assert history == jobs.History(10, 30, 8, 33, 124, 3, 25, 26)


# -- the script itself --------------------------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path):
    """Runs the job script with its state in tmp_path."""
    path = tmp_path / "job"
    path.write_text(jobs.SCRIPT_TEXT.replace(jobs.STATE, str(tmp_path)))
    (tmp_path / "j.lock").touch()

    def run(*words):
        done = subprocess.run(["sh", str(path), "-n", "j", *words], capture_output=True, text=True, timeout=20)
        records = tmp_path / "j.runs"
        kinds = [line.split() for line in records.read_text().splitlines()] if records.exists() else []
        return done.returncode, done.stdout, [(words[0], *words[2:3]) for words in kinds]

    return run


def test_the_script_records_start_and_end_and_passes_the_status_on(script):
    status, out, records = script("--", "/bin/sh", "-c", "echo hello; exit 3")
    assert (status, out, [record[0] for record in records], records[1]) == (3, "hello\n", ["started", "ended"], ("ended", "3"))


def test_the_script_skips_a_run_while_the_lock_is_held(script, tmp_path):
    with open(tmp_path / "j.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert script("--", "/bin/true")[::2] == (75, [("skipped",)])
    assert script("--", "/bin/true")[0] == 0


def test_the_script_ends_a_job_at_its_limit(script):
    status, _out, records = script("-t", "1", "--", "/bin/sleep", "15")
    assert (status, records[-1]) == (124, ("ended", "124"))


def test_the_script_appends_to_the_log_and_refuses_one_it_cannot_write(script, tmp_path):
    (tmp_path / "log").write_text("before\n")
    script("-o", str(tmp_path / "log"), "--", "/bin/echo", "after")
    assert (tmp_path / "log").read_text() == "before\nafter\n"
    status, _out, records = script("-o", str(tmp_path / "none" / "log"), "--", "/bin/true")
    assert (status, records[-1]) == (73, ("ended", "73"))


def test_the_script_gives_the_job_its_folder_and_environment(script, tmp_path):
    (tmp_path / "env").write_text("A='x y'\n")
    _status, out, _records = script("-d", str(tmp_path), "-e", str(tmp_path / "env"), "--", "/bin/sh", "-c", 'echo "$A $PWD"')
    assert out == "x y %s\n" % tmp_path


# -- on a host ----------------------------------------------------------------------------------------------------------------


class Systemd:
    """Answers as systemd does for the units whose files are below the root; can be told to fail."""

    def __init__(self, root):
        self.root, self.active, self.calls, self.fail = root, set(), [], None

    def __call__(self, argv, timeout=0.0):
        if argv[0] == "systemd-analyze":
            bad = [word for word in argv if "moon" in word]
            return (1, "Failed to parse calendar specification '%s': Invalid argument" % bad[0]) if bad else (0, TIMES)
        if argv[1] == "show":
            return 0, "\n\n".join(self.show(name) for name in argv[argv.index("--") + 1 :])
        self.calls.append(" ".join(argv[1:]))
        if self.fail == self.calls[-1]:
            self.fail = None
            return 1, "planted"
        if argv[1] in ("restart", "stop"):
            there = self.path(argv[2]).exists()
            if argv[1] == "restart" and there:
                self.active.add(argv[2])
            elif argv[1] == "stop":
                self.active.discard(argv[2])
            return (0, "") if there else (5, "Unit %s not found." % argv[2])
        return 0, ""

    def path(self, name):
        return self.root / "etc/systemd/system" / name

    def show(self, name):
        state = "loaded" if self.path(name).exists() else "not-found"
        active = "active" if name in self.active or name == "cron.service" else "inactive"
        return "Id=%s\nLoadState=%s\nActiveState=%s\nFragmentPath=\nNextElapseUSecRealtime=soon" % (name, state, active)


@pytest.fixture
def host(tmp_path):
    (tmp_path / "etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/true").touch()
    return schedule_run.Host(str(tmp_path), str(tmp_path / "state"), run=Systemd(tmp_path))


def tree(host):
    found = {}
    for folder, _folders, names in os.walk(os.path.join(host.root, "etc")):
        for name in names:
            state = managed_files.read(os.path.join(folder, name))
            found[state.path[len(host.root) :]] = (state.kind, state.content, state.mode)
    return found


def by_check(result):
    return {item["check"]: (item["status"], item["message"]) for item in result.found}


def test_apply_again_drift_and_removal(host):
    # Set up by hand before: a unit of that name that starts at every boot.
    unit = os.path.join(host.root, "etc/systemd/system/nightly.service")
    with open(unit, "w") as file:
        file.write("[Service]\nExecStart=/bin/false\n")
    os.symlink("/etc/systemd/system/nightly.service", os.path.join(host.root, "etc/systemd/system/multi-user.target.wants/nightly.service"))
    before = tree(host)
    wanted = parse(JOB, {**JOB, "name": "by-cron", "calendar": None, "cron": "0 2 * * *"})

    checked = schedule_run.carry_out(wanted, host, check_mode=True)
    assert (checked.changed, by_check(checked)["schedule.nightly"], tree(host)) == (True, ("warning", "schedule.differs"), before)
    first = schedule_run.carry_out(wanted, host, check_mode=False)
    assert (first.changed, by_check(first)["schedule.nightly"]) == (True, ("ok", "schedule.changed"))
    assert host.run.active == {"nightly.timer"}
    assert "/etc/systemd/system/multi-user.target.wants/nightly.service" not in tree(host)
    again = schedule_run.carry_out(wanted, host, check_mode=False)
    assert (again.changed, again.diff, by_check(again)["schedule.by-cron"]) == (False, [], ("ok", "schedule.cron"))

    host.run.active.clear()
    drifted = schedule_run.carry_out(wanted, host, check_mode=True)
    assert (drifted.changed, drifted.diff, by_check(drifted)["schedule.nightly"][0]) == (True, [], "warning")
    schedule_run.carry_out(wanted, host, check_mode=False)
    assert host.run.active == {"nightly.timer"}

    gone = parse({**JOB, "state": "absent"}, {"name": "by-cron", "state": "absent"})
    assert schedule_run.carry_out(gone, host, check_mode=False).changed
    assert tree(host) == before
    assert host.run.active == set()
    assert not os.path.exists(host.at(jobs.SCRIPT))
    assert not schedule_run.carry_out(gone, host, check_mode=False).changed


def test_a_job_moves_from_a_timer_to_cron_and_leaves_no_timer(host):
    schedule_run.carry_out(parse(JOB), host, check_mode=False)
    schedule_run.carry_out(parse({**JOB, "calendar": None, "cron": "0 2 * * *"}), host, check_mode=False)
    assert sorted(tree(host)) == ["/etc/cron.d/nightly", "/etc/systemd/system/nightly.service"]
    assert host.run.active == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"calendar": ["*-*-* moon"]}, "jobs[0].calendar: '*-*-* moon' is no calendar of systemd (did you mean Sun *-*-* 03:00:00?)"),
        ({"user": "nobody-here"}, "jobs[0].user: there is no user 'nobody-here' on this host"),
        ({"group": "nobody-here"}, "jobs[0].group: there is no group 'nobody-here' on this host"),
        ({"working_dir": "/none"}, "jobs[0].working_dir: there is no folder /none on this host"),
        ({"log_file": "/none/x.log"}, "jobs[0].log_file: there is no folder /none on this host"),
        ({"command": "/bin/none"}, "jobs[0].command: there is no program /bin/none on this host"),
    ],
)
def test_what_the_host_does_not_have_is_refused_before_anything_is_changed(host, change, expected):
    before = tree(host)
    with pytest.raises(OptionError) as caught:
        schedule_run.carry_out(parse({**JOB, **change}), host, check_mode=False)
    assert (str(caught.value), tree(host), host.run.calls) == (expected, before, [])


def test_a_failure_at_every_change_in_turn_leaves_the_old_state(host, monkeypatch):
    schedule_run.carry_out(parse(JOB), host, check_mode=False)
    before, active = tree(host), set(host.run.active)
    wanted = parse({**JOB, "calendar": ["*-*-* 04:00:00"]}, {**JOB, "name": "second", "log_file": "/bin/x.log"})
    real, step = managed_files.Transaction.put, [0]
    failures = 0
    for planted in [*range(20), "daemon-reload", "restart nightly.timer", "restart second.timer"]:
        step[0] = 0

        def put(self, after, validate=None, planted=planted):
            step[0] += 1
            if step[0] - 1 == planted:
                raise FileError("planted")
            real(self, after, validate)

        monkeypatch.setattr(managed_files.Transaction, "put", put)
        host.run.fail = planted if isinstance(planted, str) else None
        try:
            schedule_run.carry_out(wanted, host, check_mode=False)
        except FileError as error:
            assert "planted" in str(error)  # noqa: PT017
            assert tree(host) == before
            assert host.run.active == active
            assert not managed_files.interrupted("schedule", host.transactions)
            failures += 1
            continue
        assert not isinstance(planted, str)
        assert step[0] <= planted
        monkeypatch.setattr(managed_files.Transaction, "put", real)
        schedule_run.carry_out(parse(JOB, {"name": "second", "state": "absent"}), host, check_mode=False)
        assert tree(host) == before
    assert failures >= 12


@pytest.mark.parametrize("killed_at", [1, 3, 5, 7])
def test_a_run_that_was_killed_is_taken_back_by_the_next_one(host, monkeypatch, killed_at):
    schedule_run.carry_out(parse(JOB), host, check_mode=False)
    before = tree(host)
    wanted = parse({**JOB, "calendar": ["*-*-* 04:00:00"]}, {**JOB, "name": "second"})
    child = os.fork()
    if not child:
        real, step = managed_files.Transaction.put, [0]

        def put(self, after, validate=None):
            step[0] += 1
            if step[0] == killed_at:
                os._exit(9)
            real(self, after, validate)

        monkeypatch.setattr(managed_files.Transaction, "put", put)
        schedule_run.carry_out(wanted, host, check_mode=False)
        os._exit(0)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9
    result = schedule_run.carry_out(parse(JOB), host, check_mode=False)
    assert by_check(result)["schedule.change"] == ("warning", "change.interrupted")
    assert tree(host) == before


@pytest.mark.parametrize(
    ("records", "result", "age"),
    [
        ("installed 1000\n", ("ok", "job.never"), ("ok", "job.age_ever.ok")),
        ("installed 1000\nstarted 1100 0\nended 1200 0\n", ("ok", "job.ok"), ("ok", "job.age.ok")),
        ("installed 1000\nstarted 1100 0\nended 1200 3\n", ("critical", "job.failed"), ("ok", "job.age_ever.ok")),
        ("installed 1000\nstarted 1100 0\nended 1200 124\n", ("critical", "job.timed_out"), ("ok", "job.age_ever.ok")),
        ("installed 1000\nstarted 1100 999999999\n", ("critical", "job.cut_short"), ("ok", "job.age_ever.ok")),
        ("installed 1000\nstarted 1100 0\nended 1200 0\nskipped 1300\n", ("warning", "job.skipped"), ("ok", "job.age.ok")),
        ("installed -\n", ("ok", "job.never"), ("ok", "job.age_ever.ok")),
        ("started 10 0\nended 20 0\n", ("ok", "job.ok"), ("critical", "job.missed")),
        ("installed 10\n", ("ok", "job.never"), ("critical", "job.missed_ever")),
    ],
)
def test_what_became_of_the_runs(host, records, result, age):
    os.makedirs(os.path.dirname(host.records("nightly")))
    with open(host.records("nightly"), "w") as file:
        file.write(records)
    job = parse({**JOB, "max_age": "25h"}).jobs[0]
    found = schedule_run.run_findings(job, host, None, now=900 + 25 * 3600)
    assert [(item["status"], item["message"]) for item in found] == [result, age]


def test_a_run_that_is_under_way_is_told_as_such(host, tmp_path):
    os.makedirs(os.path.dirname(host.records("nightly")))
    with open(host.records("nightly"), "w") as file:
        file.write("installed 1\nstarted 100 42\n")
    (tmp_path / "proc/42").mkdir(parents=True)
    (tmp_path / "proc/42/cmdline").write_bytes(b"/bin/sh\0/usr/local/lib/opsrunner/job\0-n\0nightly\0")
    found = schedule_run.run_findings(parse(JOB).jobs[0], host._replace(proc=str(tmp_path / "proc")), None, now=160)
    assert [(item["status"], item["message"], item["value"]) for item in found] == [("ok", "job.running", 60)]
