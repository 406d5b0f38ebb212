# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of applications: written so that every reader reads the same, in force or back as they were."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._files import managed as managed_files
from ansible_collections.opsrunner.runbook.plugins.module_utils._files.managed import FileError
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.app_settings import apply as settings_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._provision.app_settings import files as settings_files

GIB = 1024**3
ITEM = {"name": "app", "path": "/etc/app/app.env", "values": {"A": 1}}

line = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)
scalars = st.one_of(line, st.integers(-(10**12), 10**12), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False))
tree = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(line, inner, max_size=3), max_leaves=12)


def parse(*given_items):
    return settings_files.parse({"settings": list(given_items)})


@given(st.dictionaries(line, tree, max_size=4))
def test_yaml_is_read_as_what_was_meant(values):
    assert yaml.safe_load(settings_files.render("yaml", values)) == values
    assert settings_files.check_text("yaml", settings_files.render("yaml", values), values) is None


@given(st.dictionaries(st.sampled_from(["A", "B_1", "c"]), scalars, max_size=3))
def test_an_environment_file_is_read_as_what_was_meant(values):
    text = settings_files.render("env", values)
    assert settings_files.read_env(text) == {name: settings_files.scalar(value) for name, value in values.items()}


@pytest.mark.parametrize("value", ["plain", "two words", "it's", 'a "quote"', "$HOME `x`", "back\\slash", "'\"$`\\", "", "#no", "한글"])
def test_a_shell_reads_the_same_as_systemd(value, tmp_path):
    file = tmp_path / "e"
    file.write_text(settings_files.render("env", {"A": value}))
    done = subprocess.run(["sh", "-c", '. "$1"; printf %s "$A"', "sh", str(file)], capture_output=True, text=True, check=True)
    assert done.stdout == value


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("ini", {"main": {"threads": 4, "on": True}}, "\n[main]\nthreads = 4\non = true\n"),
        ("json", {"a": [1, None]}, '{\n  "a": [\n    1,\n    null\n  ]\n}\n'),
        ("python", {"workers": 4, "worker_class": "uvicorn.workers.UvicornWorker"}, "workers = 4\nworker_class = 'uvicorn.workers.UvicornWorker'\n"),  # noqa: E501
        ("yaml", {"a": {"size": "4GB", "list": [], "on": "no"}}, 'a:\n  size: "4GB"\n  list: []\n  "on": "no"\n'),
    ],
)  # fmt: skip
def test_formats(kind, values, expected):
    text = settings_files.render(kind, values)
    assert text.replace(settings_files.HEADER, "") == expected
    assert settings_files.check_text(kind, text, values) is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"from_host": "cores"}, 8),
        ({"from_host": "cores", "max": 4}, 4),
        ({"from_host": "cores", "share": 2}, 16),
        ({"from_host": "cores", "share": "5%"}, 1),
        ({"from_host": "memory", "share": "1%", "unit": "KiB"}, 167772),
        ({"from_host": "memory", "share": 0.25, "unit": "GiB"}, 4),
        ({"from_host": "memory", "share": "1%", "unit": "MiB", "min": 512}, 512),
    ],
)
def test_a_value_is_a_share_of_what_the_host_has(expression, expected):
    one = parse({**ITEM, "values": {"A": expression}})[0]
    assert settings_files.resolve(one.values, {"cores": 8, "memory": 16 * GIB}) == {"A": expected}


def test_a_merged_environment_file_keeps_its_other_lines():
    text = "# mine\nSECRET='x y'\nLEVEL=DEBUG\nexport POOL=5\nLEVEL=again\n"
    merged = settings_files.merge_env(text, {"LEVEL": "INFO", "POOL": 20, "NEW": True})
    assert merged == "# mine\nSECRET='x y'\nLEVEL=INFO\nPOOL=20\nNEW=true\n"
    assert settings_files.merge_env(merged, {"LEVEL": "INFO", "POOL": 20, "NEW": True}) == merged


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"values": None}, "settings[0].values: is required and is missing"),
        ({"values": {"A-B": 1}}, "settings[0].values.A-B: 'A-B' is no name of a variable"),
        ({"values": {"A": "1\n2"}}, "settings[0].values.A: holds a line break or another control character"),
        ({"values": {"A": [1]}}, "settings[0].values.A: an environment holds texts and numbers only"),
        ({"values": {"A": {"from_host": "core"}}}, "settings[0].values.A.from_host: unknown choice 'core' (did you mean cores?)"),
        ({"values": {"A": {"from_host": "memory"}}}, "settings[0].values.A.unit: say the unit of a share of memory (did you mean KiB, MiB or GiB?)"),  # noqa: E501
        ({"values": {"A": {"from_host": "cores", "share": "lots"}}}, "settings[0].values.A.share: 'lots' is no share (did you mean 0.5, 2 or 1%?)"),  # noqa: E501
        ({"format": "ini"}, "settings[0].values.A: is to be a section: a mapping of names to values"),
        ({"format": "toml"}, "settings[0].format: unknown choice 'toml' (did you mean yaml?)"),
        ({"path": "app.env"}, "settings[0].path: 'app.env' is no absolute path"),
        ({"secrets": {"K": "x"}, "mode": "0644"}, 'settings[0].mode: others could read the secrets with mode 0644 (did you mean "0600" or "0640"?)'),  # noqa: E501
        ({"mode": 600}, 'settings[0].mode: 600 is no mode: write it in quotes (did you mean "0640"?)'),
        ({"environment_file": True}, "settings[0].environment_file: needs a unit and the format env"),
        ({"unit": "app.timer"}, "settings[0].unit: app.timer is no service: settings of processes go to the service"),
        ({"validate": "/bin/true"}, "settings[0].validate: one of its words is to be %s, the file to be looked at"),
        ({"health": {"port": 1}}, "settings[0].health: is looked at after a restart: name the unit or the apply_command"),
        ({"unit": "a", "health": {"prt": 1}}, "settings[0].health.prt: unknown key 'prt' (did you mean port?)"),
        ({"unit": "a", "health": {"url": "localhost"}}, "settings[0].health.url: 'localhost' is no URL (did you mean http://localhost:8000/health?)"),
        ({"valeus": {}}, "settings[0].valeus: unknown key 'valeus' (did you mean values?)"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_with_one_clear_message(change, expected):
    with pytest.raises(OptionError) as caught:
        parse({**ITEM, **change})
    assert str(caught.value) == expected


# -- on a host ----------------------------------------------------------------------------------------------------------------


class Systemd:
    """One running unit whose process has the environment of its file when it starts; sick with ``SICK=yes``."""

    def __init__(self, root):
        self.root, self.pid, self.calls, self.fail, self.active = root, 100, [], None, "active"
        self.start()

    def start(self):
        self.pid += 1
        folder = self.root / "proc" / str(self.pid)
        folder.mkdir(parents=True)
        file = self.root / "etc/app.env"
        drop_in = self.root / "etc/systemd/system/app.service.d/50-opsrunner-app.conf"
        told = settings_files.read_env(file.read_text()) if drop_in.exists() and file.exists() else {}
        (folder / "environ").write_bytes(b"\0".join(("%s=%s" % pair).encode() for pair in told.items()))
        self.active = "failed" if told.get("SICK") == "yes" else "active"

    def __call__(self, argv, timeout=0.0):
        if argv[1:2] == ["show"]:
            return 0, "\n\n".join("Id=%s\nLoadState=loaded\nActiveState=%s\nMainPID=%d\nNRestarts=0" % (name, self.active, self.pid) for name in argv[argv.index("--") + 1 :])  # fmt: skip  # noqa: E501
        self.calls.append(" ".join(argv))
        if self.fail and self.fail in self.calls[-1]:
            self.fail = None
            return 1, "planted"
        if argv[1:2] == ["restart"]:
            self.start()
        return 0, ""


@pytest.fixture
def host(tmp_path):
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1048576 kB\n")
    systemd = Systemd(tmp_path)
    return settings_run.Host(str(tmp_path), str(tmp_path / "state"), str(tmp_path / "proc"), systemd, lambda seconds: None)


def files_of(host):
    found = {}
    for folder, _folders, names in os.walk(os.path.join(host.root, "etc")):
        for name in [*names, *_folders]:
            state = managed_files.read(os.path.join(folder, name))
            found[state.path[len(host.root) :]] = (state.kind, state.content, state.mode)
    return found


def by_check(result):
    return {item["check"]: (item["status"], item["message"]) for item in result.found}


APP = {
    "name": "app",
    "path": "/etc/app.env",
    "unit": "app",
    "environment_file": True,
    "values": {"A": 1},
    "health": {"settle": "0", "timeout": "0"},
}


def test_apply_again_drift_and_removal(host, tmp_path):
    (tmp_path / "etc/app.env").write_text("OLD=1\n")
    os.chmod(tmp_path / "etc/app.env", 0o640)
    before = files_of(host)
    wanted = parse({**APP, "secrets": {"KEY": "hidden away"}})

    checked = settings_run.carry_out(wanted, host, check_mode=True)
    assert (checked.changed, files_of(host), by_check(checked)["settings.app"]) == (True, before, ("warning", "settings.differs"))
    assert "hidden away" not in str(checked.diff)
    first = settings_run.carry_out(wanted, host, check_mode=False)
    assert (first.restarted, by_check(first)["settings.app.effective"]) == (["app.service"], ("ok", "settings.effective"))
    assert managed_files.read(str(tmp_path / "etc/app.env")).mode == 0o600
    again = settings_run.carry_out(wanted, host, check_mode=False)
    assert (again.changed, again.restarted, again.diff) == (False, [], [])

    os.chmod(tmp_path / "etc/app.env", 0o644)
    assert [item["after_header"] for item in settings_run.carry_out(wanted, host, check_mode=True).diff] == [str(tmp_path / "etc/app.env")]
    gone = parse({**APP, "state": "absent"})
    assert settings_run.carry_out(gone, host, check_mode=False).changed
    assert files_of(host) == before
    assert not settings_run.carry_out(gone, host, check_mode=False).changed


def test_a_service_that_runs_without_its_settings_is_restarted_or_told(host):
    settings_run.carry_out(parse(APP), host, check_mode=False)
    (open(os.path.join(host.proc, str(host.run.pid), "environ"), "wb")).close()
    told = settings_run.carry_out(parse({**APP, "restart": False}), host, check_mode=False)
    assert (told.changed, by_check(told)["settings.app.effective"]) == (False, ("warning", "settings.pending"))
    assert settings_run.carry_out(parse(APP), host, check_mode=False).restarted == ["app.service"]


def test_a_service_that_does_not_run_is_not_started(host):
    host.run.active = "inactive"
    result = settings_run.carry_out(parse(APP), host, check_mode=False)
    assert (result.restarted, by_check(result)["settings.app.effective"]) == ([], ("ok", "settings.not_running"))


def test_a_service_that_is_not_healthy_gets_its_old_settings_back(host, tmp_path):
    settings_run.carry_out(parse(APP), host, check_mode=False)
    before = files_of(host)
    with pytest.raises(FileError, match=r"app.service is not healthy 0 s after its restart: it is failed; the old settings are back"):
        settings_run.carry_out(parse({**APP, "values": {"A": 1, "SICK": "yes"}}), host, check_mode=False)
    assert files_of(host) == before
    assert host.run.active == "active"
    assert (tmp_path / "proc" / str(host.run.pid) / "environ").read_bytes() == b"A=1"
    assert not managed_files.interrupted("app_settings", host.transactions)


@pytest.mark.parametrize("planted", [0, 1, 2, 3, "daemon-reload", "restart app.service"])
def test_a_failure_at_every_change_in_turn_leaves_the_old_state(host, monkeypatch, planted, tmp_path):
    (tmp_path / "etc/app.env").write_text("OLD=1\n")
    before, real, step = files_of(host), managed_files.Transaction.put, [0]
    second = {"name": "two", "path": "/etc/two.json", "format": "json", "values": {"a": 1}}

    def put(self, after, validate=None):
        step[0] += 1
        if step[0] - 1 == planted:
            raise FileError("planted")
        real(self, after, validate)

    monkeypatch.setattr(managed_files.Transaction, "put", put)
    host.run.fail = planted if isinstance(planted, str) else None
    with pytest.raises(FileError, match="planted"):
        settings_run.carry_out(parse(APP, second), host, check_mode=False)
    assert files_of(host) == before
    assert host.run.active == "active"
    assert not managed_files.interrupted("app_settings", host.transactions)


@pytest.mark.parametrize("killed_at", [1, 2, 3, "restart"])
def test_a_run_that_was_killed_is_taken_back_by_the_next_one(host, monkeypatch, killed_at):
    settings_run.carry_out(parse(APP), host, check_mode=False)
    before = files_of(host)
    second = {"name": "two", "path": "/etc/two.json", "format": "json", "values": {"a": 1}}
    child = os.fork()
    if not child:
        real, step, start = managed_files.Transaction.put, [0], host.run.start

        def put(self, after, validate=None):
            step[0] += 1
            if step[0] == killed_at:
                os._exit(9)
            real(self, after, validate)

        def restart():
            if killed_at == "restart":
                os._exit(9)
            start()

        monkeypatch.setattr(managed_files.Transaction, "put", put)
        monkeypatch.setattr(host.run, "start", restart)
        settings_run.carry_out(parse({**APP, "values": {"A": 2}}, second), host, check_mode=False)
        os._exit(0)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9
    result = settings_run.carry_out(parse(APP), host, check_mode=False)
    assert by_check(result)["settings.change"] == ("warning", "change.interrupted")
    assert files_of(host) == before
    assert by_check(result)["settings.app.effective"] == ("ok", "settings.effective")


def test_what_the_own_command_refuses_changes_nothing(host):
    before = files_of(host)
    host.run.fail = "checker"
    item = {"name": "two", "path": "/etc/two.json", "format": "json", "values": {"a": 1}, "validate": ["/bin/checker", "%s"]}
    with pytest.raises(FileError, match=r"/etc/two.json is refused by /bin/checker: planted"):
        settings_run.carry_out(parse(item), host, check_mode=False)
    assert files_of(host) == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"owner": "nobody-here"}, "settings[0].owner: there is no user 'nobody-here' on this host"),
        ({"path": "/none/app.env"}, "settings[0].path: there is no folder /none on this host"),
    ],
)
def test_what_the_host_does_not_have_is_refused(host, change, expected):
    before = files_of(host)
    with pytest.raises(OptionError) as caught:
        settings_run.carry_out(parse({**APP, **change}), host, check_mode=False)
    assert (str(caught.value), files_of(host)) == (expected, before)


class Answer(BaseHTTPRequestHandler):
    """Answers with the status that its path names."""

    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *args):
        """Say nothing."""


def test_health_is_a_url_a_port_and_a_command(host):
    server = HTTPServer(("localhost", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port

    def wrong(**health):
        return settings_run._unhealthy(settings_files.Settings("a", "/a", health=health), None, host)

    with contextlib.closing(socket.socket()) as closed:
        closed.bind(("localhost", 0))
        assert wrong(port=closed.getsockname()[1]).startswith("port %d: " % closed.getsockname()[1])
    assert wrong(url="http://localhost:%d/200" % port, port=port) is None
    assert wrong(url="http://localhost:%d/503" % port) == "http://localhost:%d/503: status 503" % port
    host.run.fail = "sick"
    assert wrong(command=["/bin/sick"]) == "/bin/sick: planted"
    server.shutdown()
    server.server_close()
