# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""logrotate policies: data in, one file each out, all or none, and back as it was."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as managed_files
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.logrotate import apply as logrotate_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.logrotate import policy as policies

POLICY = {"name": "app", "paths": ["/var/log/app/*.log"], "frequency": "daily", "rotate": 30}


def parse(*given, **options):
    return policies.parse({"policies": list(given), **options})


@pytest.fixture
def host(tmp_path):
    """A host with a configuration of its own, whose logrotate answers as ``host.says`` tells."""
    (tmp_path / "logrotate.d").mkdir()
    (tmp_path / "cron.daily").mkdir()
    (tmp_path / "cron.daily" / "logrotate").touch()
    config = tmp_path / "logrotate.conf"
    config.write_text("weekly\ninclude %s\n" % (tmp_path / "logrotate.d"))
    says = []

    def run(argv, timeout=0.0):
        if argv[0] == "logrotate" and "-d" in argv:
            folder = Path(argv[-1]).read_text().split()[-1]
            wrong = ["error: %s" % line for name, line in says if name in os.listdir(folder)]
            return (1 if wrong else 0), "\n".join(wrong)
        return 1, ""

    made = logrotate_run.Host(str(tmp_path / "logrotate.d"), str(config), str(tmp_path / "state"), "/proc", str(tmp_path), run)
    return made, says


def tree(host):
    found = {}
    for name in sorted(os.listdir(host.folder)):
        state = managed_files.read(os.path.join(host.folder, name))
        found[name] = (state.content, state.mode, state.mtime_ns)
    return found


def by_check(result):
    return {item["check"]: (item["status"], item["message"]) for item in result.found}


def test_a_policy_is_written_as_logrotate_reads_it():
    policy = parse(
        {
            **POLICY,
            "paths": ["/var/log/app/*.log", "/var/log/my app.log"],
            "maxsize": "100M",
            "compress": True,
            "delaycompress": True,
            "missingok": True,
            "notifempty": True,
            "dateext": False,
            "create": {"mode": "0640", "owner": "batch", "group": "adm"},
            "su": {"user": "batch", "group": "adm"},
            "postrotate": "systemctl reload app\ntrue",
        }
    ).policies[0]
    assert policies.render(policy).decode() == policies.HEADER + (
        '/var/log/app/*.log "/var/log/my app.log" {\n    daily\n    maxsize 104857600\n    rotate 30\n    compress\n    delaycompress\n'
        "    missingok\n    nodateext\n    notifempty\n    create 0640 batch adm\n    su batch adm\n    postrotate\n"
        "        systemctl reload app\n        true\n    endscript\n}\n"
    )


def test_what_is_written_is_found_again_by_the_reader_of_sections():
    policy = parse({**POLICY, "paths": ["/var/log/a b.log", "/x/*.log"], "postrotate": ["echo }", "true"]}).policies[0]
    assert [section.paths for section in policies.sections(policies.render(policy).decode(), "f")] == [("/var/log/a b.log", "/x/*.log")]


def test_sections_of_other_files_are_found_with_their_line():
    text = '# x\nweekly\n/var/log/syslog\n/var/log/mail.log\n{\n  rotate 4\n  postrotate\n    a { b\n  endscript\n}\n"/v/w x" { daily }\n'
    assert policies.sections(text, "f") == [
        policies.Section("f", 3, ("/var/log/syslog", "/var/log/mail.log")),
        policies.Section("f", 11, ("/v/w x",)),
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("/a/*.log", "/a/x.log", True),
        ("/a/x.log", "/a/x.log", True),
        ("/a/*.log", "/a/b/x.log", False),
        ("/a/*.log", "/a/*.txt", False),
        ("/*/x.log", "/a/x.log", True),
    ],
)
def test_two_paths_that_mean_a_common_file(first, second, expected):
    assert policies.same_file(first, second) is expected
    assert policies.same_file(second, first) is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"paths": None}, "policies[0].paths: is required and is missing"),
        ({"paths": ["app.log"]}, "policies[0].paths[0]: 'app.log' is no absolute path"),
        ({"paths": ["/a\n/b {"]}, "policies[0].paths[0]: holds a line break or another control character: '/a\\n/b {'"),
        ({"paths": ["/a{"]}, "policies[0].paths[0]: '/a{' holds a quote, a brace or a backslash"),
        ({"frequency": "dayly"}, "policies[0].frequency: unknown choice 'dayly' (did you mean daily?)"),
        ({"frequency": None}, "policies[0].frequency: say when: a frequency or a size"),
        ({"rotate": None}, "policies[0].rotate: say how many old files stay (rotate) or how long (maxage)"),
        ({"rotate": "many"}, "policies[0].rotate: 'many' is no whole number of 0 or more"),
        ({"rotat": 4}, "policies[0].rotat: unknown key 'rotat' (did you mean rotate?)"),
        ({"create": {"mode": "0644"}}, "policies[0].create.owner: is required and is missing"),
        (
            {"create": {"mode": 644, "owner": "a", "group": "b"}},
            'policies[0].create.mode: 644 is no mode: write it in quotes (did you mean "0640"?)',
        ),
        ({"delaycompress": True}, "policies[0].delaycompress: delays a compression that is not asked for"),
        ({"postrotate": "a\nendscript\nb"}, "policies[0].postrotate[1]: 'endscript' would end the script"),
        ({"name": "x.bak"}, "policies[0].name: logrotate passes over files that are named so: x.bak"),
        ({"compress": "perhaps"}, "policies[0].compress: 'perhaps' is neither true nor false"),
    ],
)  # fmt: skip
def test_bad_policies_are_refused_with_one_clear_message(change, expected):
    with pytest.raises(OptionError) as caught:
        parse({**POLICY, **change})
    assert str(caught.value) == expected


def test_two_policies_for_one_log_are_refused():
    with pytest.raises(OptionError, match=r"policies\[1\].paths: /var/log/app/x.log is rotated by policy 'app' already"):
        parse(POLICY, {**POLICY, "name": "other", "paths": ["/var/log/app/x.log"]})


def test_apply_again_drift_and_removal(host):
    host, _says = host
    foreign = os.path.join(host.folder, "app")
    with open(foreign, "w") as file:
        file.write("/var/log/app/*.log { weekly }\n")
    os.chmod(foreign, 0o600)
    os.utime(foreign, (1, 1))
    before = tree(host)

    first = logrotate_run.carry_out(parse(POLICY), host, check_mode=True)
    assert (first.changed, by_check(first)["logrotate.app"]) == (True, ("warning", "logrotate.differs"))
    assert tree(host) == before

    assert logrotate_run.carry_out(parse(POLICY), host, check_mode=False).changed
    assert managed_files.read(foreign).mode == 0o644
    again = logrotate_run.carry_out(parse(POLICY), host, check_mode=False)
    assert (again.changed, again.diff, by_check(again)["logrotate.app"]) == (False, [], ("ok", "logrotate.ok"))

    os.chmod(foreign, 0o640)
    drifted = logrotate_run.carry_out(parse(POLICY), host, check_mode=True)
    assert [item["before"].split("\n")[0] for item in drifted.diff] == ["# mode 0640, owner %d, group %d" % (os.geteuid(), os.getegid())]

    gone = logrotate_run.carry_out(parse({"name": "app", "state": "absent"}), host, check_mode=False)
    assert gone.changed
    assert tree(host) == before
    assert not logrotate_run.carry_out(parse({"name": "app", "state": "absent"}), host, check_mode=False).changed


def test_a_file_of_others_is_not_taken_away(host):
    host, _says = host
    with open(os.path.join(host.folder, "app"), "w") as file:
        file.write("/a { daily }\n")
    before = tree(host)
    result = logrotate_run.carry_out(parse({"name": "app", "state": "absent"}), host, check_mode=False)
    assert (result.changed, tree(host), by_check(result)["logrotate.app"]) == (False, before, ("ok", "logrotate.foreign"))


def test_exclusive_takes_away_what_is_no_longer_listed_and_is_ours(host):
    host, _says = host
    with open(os.path.join(host.folder, "theirs"), "w") as file:
        file.write("/a { daily }\n")
    before = tree(host)
    logrotate_run.carry_out(parse(POLICY), host, check_mode=False)
    logrotate_run.carry_out(parse(exclusive=True), host, check_mode=False)
    assert tree(host) == before


def test_what_logrotate_refuses_changes_nothing(host):
    host, says = host
    says.append(("bad", "bad:3 unknown user 'nobody4'"))
    before = tree(host)
    with pytest.raises(FileError, match="logrotate refuses it: bad:3 unknown user 'nobody4'"):
        logrotate_run.carry_out(parse(POLICY, {**POLICY, "name": "bad", "paths": ["/b"]}), host, check_mode=False)
    assert tree(host) == before


def test_an_error_of_another_policy_is_told_and_stops_nothing(host):
    host, says = host
    with open(os.path.join(host.folder, "theirs"), "w") as file:
        file.write("/a { dayly }\n")
    says.append(("theirs", "theirs:1 unknown option 'dayly'"))
    result = logrotate_run.carry_out(parse(POLICY), host, check_mode=False)
    assert by_check(result)["logrotate.config"] == ("warning", "logrotate.config")
    assert by_check(result)["logrotate.app"] == ("ok", "logrotate.changed")


def test_a_log_that_others_rotate_is_refused_with_both_named(host):
    host, _says = host
    with open(os.path.join(host.folder, "theirs"), "w") as file:
        file.write("\n/var/log/app/one.log { daily }\n")
    before = tree(host)
    with pytest.raises(FileError, match=r"policy 'app': /var/log/app/\*.log is rotated by .*theirs \(line 2\) already"):
        logrotate_run.carry_out(parse(POLICY), host, check_mode=False)
    assert tree(host) == before


@pytest.mark.parametrize("failing", range(6))
def test_a_failure_at_every_write_in_turn_leaves_all_as_it_was(host, monkeypatch, failing):
    host, _says = host
    with open(os.path.join(host.folder, "app"), "w") as file:
        file.write("/var/log/app/*.log { weekly }\n")
    before = tree(host)
    wanted = parse(POLICY, {**POLICY, "name": "two", "paths": ["/two.log"]})
    real, calls = managed_files.Transaction.put, []

    def put(self, after, validate=None):
        calls.append(after)
        if len(calls) == failing + 1:
            raise FileError("planted")
        real(self, after, validate)

    monkeypatch.setattr(managed_files.Transaction, "put", put)
    if failing < 4:
        with pytest.raises(FileError, match="planted"):
            logrotate_run.carry_out(wanted, host, check_mode=False)
        assert tree(host) == before
        assert not managed_files.interrupted("logrotate", host.transactions)
    else:
        logrotate_run.carry_out(wanted, host, check_mode=False)
        assert set(tree(host)) == {"app", "two"}


def test_large_and_old_logs_are_told_rotated_ones_too(tmp_path):
    (tmp_path / "a.log").write_bytes(b"x" * 2000)
    (tmp_path / "a.log.1").write_bytes(b"x")
    os.utime(tmp_path / "a.log.1", (0, time.time() - 40 * 86400))
    policy = parse({**POLICY, "paths": [str(tmp_path / "*.log")], "size_limit": "1K"}).policies[0]
    size, age = logrotate_run.log_findings(policy)
    assert (size["check"], size["status"], size["value"], size["unit"]) == ("logrotate.size.app", "warning", 2000, "B")
    assert (age["status"], age["evidence"]) == ("warning", {"logrotate_files": [str(tmp_path / "a.log.1")]})
    assert 39.9 < age["value"] < 40.1


class Rotating:
    """A logrotate that renames the log, and a service that follows or does not."""

    def __init__(self, path, follows):
        self.path, self.follows, self.service = path, follows, open(path, "a")  # noqa: SIM115

    def __call__(self, argv, timeout=0.0):
        os.rename(self.path, self.path + ".1")
        if self.follows:
            self.service.close()
            self.service = open(self.path, "a")  # noqa: SIM115
        else:
            Path(self.path).touch()
        return 0, ""


@pytest.mark.parametrize(("follows", "expected"), [(True, ("ok", "logrotate.force.ok")), (False, ("critical", "logrotate.force.stuck"))])
def test_a_forced_rotation_is_proved_by_who_writes_where(tmp_path, follows, expected):
    path = str(tmp_path / "a.log")
    with open(path, "w") as file:
        file.write("line\n")
    policy = parse({**POLICY, "paths": [path]}).policies[0]
    rotating = Rotating(path, follows)
    host = logrotate_run.Host(str(tmp_path), str(tmp_path / "none.conf"), run=rotating)
    found = logrotate_run.force(policy, host, proof=0.0, sleep=lambda seconds: None)
    rotating.service.close()
    assert (found["status"], found["message"]) == expected
    assert any("(%d)" % os.getpid() in name for name in found["evidence"]["logrotate_writers"])


def test_a_forced_rotation_that_rotates_nothing_is_critical(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("line\n")
    policy = parse({**POLICY, "paths": [str(path)]}).policies[0]
    host = logrotate_run.Host(str(tmp_path), str(tmp_path / "none.conf"), run=lambda argv, timeout=0.0: (0, ""))
    found = logrotate_run.force(policy, host, proof=0.0, sleep=lambda seconds: None)
    assert (found["status"], found["message"]) == ("critical", "logrotate.force.same")
