# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nasty log lines from a seed: what writers, rotation and crashes do to logs."""

from __future__ import annotations

import json
import random

LEVELS = ("INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR", "error", "CRITICAL", "Fatal", " err ", "50", "WEIRD")
STATUSES = ("success", "error", "ok", "Failed", "200", "503", "404")
WORDS = (
    "request done",
    'it said \\"level\\":\\"ERROR\\" to us',
    "level: ERROR status=error",
    "사용자 처리 완료",
    "could not reach 10.0.0.7:8080 after 31 ms",
    "tab\\there and \\u00e9 \\ud83d\\ude00 \\ud800 lone",
    "back\\\\slash",
    "slash \\/ and /var/x/17",
    "",
    "x" * 300,
    '\\",\\"level\\":\\"ERROR',
)
NUMBERS = (
    "0", "-0", "0.0", "1", "25", "50", "24.999999", "50.000001", "-3.5", "12.3", "12.345678", "1e3", "1E-3", "-1.5e+2", "1e308", "4e-320",
    "1e400", "-1e999", "123456789012345678901234567890", "9" * 400, "0.1", "33", "NaN", "Infinity", "-Infinity", '"12.5"', '" 7 "', '"+4."',
    '"fast"', '""', '"NaN"', '"1_0"', '"0x1F"', "true", "false", "null", "[1]", '{"a":1}', "01", "+1", ".5", "1.", "1e", "- 1",
)  # fmt: skip
TIMES = (
    '"2026-03-01T10:0{m}:{s:02d}Z"',
    '"2026-03-01T10:0{m}:{s:02d}.{f:03d}Z"',
    '"2026-03-01T10:0{m}:{s:02d}.{f:06d}Z"',
    '"2026-03-01T19:0{m}:{s:02d}.{f:03d}+09:00"',
    '"2026-03-01T19:0{m}:{s:02d},{f:03d}+0900"',
    '"2026-03-01 10:0{m}:{s:02d},{f:03d}"',
    '"2026-03-01 10:0{m}:{s:02d}"',
    '"2026-03-01 10:0{m}"',
    '"2026-02-30T10:0{m}:{s:02d}Z"',
    '"2026-03-01T10:0{m}:60Z"',
    '"2026-03-01T10:0{m}:61Z"',
    '"2026-03-01T25:0{m}:{s:02d}Z"',
    "17723592{m}{s:02d}",
    "17723592{m}{s:02d}.{f:03d}",
    "17723592{m}{s:02d}{f:03d}",
    '"17723592{m}{s:02d}"',
    '"yesterday"',
    '""',
    "null",
    "true",
    "[2026]",
)


def json_line(r: random.Random, plain: float = 0.7) -> str:
    """One JSON line, with the share ``plain`` of the kind that programs write all day."""
    ordinary = r.random() < plain
    pick = r.choice
    moment = {"m": r.randrange(10), "s": r.randrange(60), "f": r.randrange(1000)}
    number = f"{r.expovariate(1 / 30):.{pick((0, 1, 1, 1, 6))}f}" if ordinary else pick(NUMBERS)
    pairs = [
        ("timestamp", (TIMES[1] if ordinary else pick(TIMES)).format(**moment)),
        (
            "level",
            json.dumps(pick(LEVELS[:7]))
            if ordinary
            else pick((json.dumps(pick(LEVELS)), "50", "null", "true", '["ERROR"]', '"ERR\\u004fR"')),
        ),
        (
            "function",
            json.dumps(pick(("load", "store", "analyze"))) if ordinary else pick(('"load"', "null", "3", "{}", '"l\\u006fad"', '"a | b"')),
        ),
        ("message", '"' + (pick(WORDS[:1] + WORDS[2:5]) if ordinary else pick(WORDS)) + '"'),
        ("ms", number),
        ("status", json.dumps(pick(STATUSES)) if ordinary else pick((json.dumps(pick(STATUSES)), "503", "200", "null", "false"))),
        ("request_id", json.dumps(f"req-{r.getrandbits(24):06x}") if ordinary else pick(('"r1"', "17", "null", '"\\u0041"'))),
    ]
    if not ordinary:
        kind = r.randrange(10)
        if kind == 0:
            r.shuffle(pairs)
        elif kind == 1:
            pairs.append(pick(pairs))
        elif kind == 2:
            pairs.append(("http", pick(('{"code": 503, "ms": 1.5}', "[]", '[1, {"level": "ERROR"}]', '{"a": {"b": [1, 2, "}"]}}', "null"))))
        elif kind == 3:
            pairs.insert(0, ("le\\u0076el", '"ERROR"'))
        elif kind == 4:
            del pairs[r.randrange(len(pairs))]
        elif kind == 5:
            pairs.append(("extra", pick(("NaN", '"\t"', '"\x01"', "nul", "1.e5", '"\\x41"', "'single'", '"half'))))
        elif kind == 6:
            pairs = [pair for pair in pairs if pair[0] != "ms"] + [("ms", pick(NUMBERS)), ("ms", pick(NUMBERS))]
    colon, comma = pick(((":", ","), (": ", ", "), (":", ","), (" :  ", " ,\t"))) if not ordinary else (": ", ", ")
    return "{" + comma.join(f'"{name}"{colon}{value}' for name, value in pairs) + "}"


def access_line(r: random.Random, plain: float = 0.8) -> str:
    """One line of an access log in the combined or common format."""
    ordinary = r.random() < plain
    pick = r.choice
    zone = "+0000" if ordinary else pick(("+0900", "-0330", "+0000", "0000", "+2500"))
    time = f"{pick(('01', '01', '02'))}/Mar/2026:10:{r.randrange(60):02d}:{r.randrange(60 if ordinary else 70):02d} {zone}"
    if not ordinary and r.random() < 0.2:
        time = pick(("30/Feb/2026:10:00:00 +0000", "01/Xyz/2026:10:00:00 +0000", "-", "01/Mar/2026 10:00"))
    request = (
        f"GET /api/v1/item/{r.randrange(1000)} HTTP/1.1"
        if ordinary
        else pick(("-", "GET / HTTP/1.0", '\\"x\\" y', "\\x16\\x03", 'a"b', "한글 /x", ""))
    )
    status = pick(("200", "200", "200", "404", "500", "503")) if ordinary else pick(("200", "999", "5000", "-", "50"))
    size = str(r.randrange(100000)) if ordinary else pick(("-", "0", "12x", "9" * 30))
    user = "-" if ordinary else pick(("-", "kim", "kim lee", "", "a[b"))
    line = f'{r.randrange(256)}.0.0.{r.randrange(256)} - {user} [{time}] "{request}" {status} {size}'
    if ordinary or r.random() < 0.7:
        line += (
            ' "-" "Mozilla/5.0 (X11)"'
            if ordinary
            else pick((' "-" "x" 0.004', ' "http://a/?b=\\"c" "y" 1.5 more', ' "-"', ' "-" "q', ' "" "" "" '))
        )
    return line


def batch_line(r: random.Random, plain: float = 0.8) -> str:
    """One line of a plain log: time - logger - level - message."""
    ordinary = r.random() < plain
    pick = r.choice
    time = f"2026-03-01 10:{r.randrange(60):02d}:{r.randrange(60):02d},{r.randrange(1000):03d}"
    if not ordinary:
        time = pick(
            (
                time,
                time[:-4],
                time.replace(",", "."),
                time.replace(" ", "T") + "Z",
                "2026-13-01 10:00:00,000",
                "10:00:00",
                time + " +09:00",
                time[:16],
            )
        )
    level = pick(("INFO", "INFO", "ERROR", "WARNING", "CRITICAL")) if ordinary else pick(("INFO", "err", "ERROR2", "", "E-R"))
    message = pick(
        ("BATCH PROCESS COMPLETED SUCCESSFULLY", "Total duration: 12.5 seconds", "failed for USER17", "x - y - ERROR - z", "", "완료")
    )
    if r.random() < 0.5:
        message = pick(MESSAGES)
    if not ordinary and r.random() < 0.5:
        time = plain_time(r, False)
    if not ordinary and r.random() < 0.3:
        return pick(
            (
                "Traceback (most recent call last):",
                '  File "x.py", line 3',
                "ValueError: bad",
                "plain words",
                "java.lang.IllegalStateException: no",
            )
        )
    return f"{time} - {pick(('app', 'app.db', 'a b'))} - {level} - {message}"


MESSAGES = (
    "BATCH PROCESS COMPLETED SUCCESSFULLY",
    "Total duration: 12.5 seconds",
    "Total duration: fast",
    "response time: 312 ms",
    "response time: 1,200 ms, response time: 7 ms",
    "response time: " + "9" * 400,
    "failed for USER17 after 31 ms",
    "failed for USER99 after 4 ms",
    "x - app - ERROR - y",
    "2026-03-01 10:00:00,000 - app - ERROR - within",
    " led by a space",
    "ERROR at the beginning",
    "[ERROR] in brackets",
    "ERRATIC, INFOrmation, terrors and warnings",
    "panic: error",
    "",
    "-",
    "완료 response time: 5",
    "x" * 700,
)


def plain_time(r: random.Random, ordinary: bool, fraction: str = ",") -> str:
    """A time of a plain log: mostly rising, sometimes going back, strange or none."""
    minute, second = r.randrange(60), r.randrange(60)
    if not ordinary:
        return r.choice(
            (
                f"2026-03-01 10:{minute:02d}:{second:02d}",
                f"2026-03-01 10:{minute:02d}:{second:02d}.5",
                f"2026-03-01T10:{minute:02d}:{second:02d}{fraction}123Z",
                f"2026-03-01 10:{minute:02d}:{second:02d}{fraction}123+09:00",
                f"2026-03-01 10:{minute:02d}:{second:02d}{fraction}123 UTC",
                f"2026-03-01 10:{60 + minute % 40}:{second:02d}{fraction}123",
                f"2026-03-01 10:{minute:02d}:{60 + second % 40}{fraction}123",
                f"2026-03-01 10:{minute:02d}:60{fraction}000",
                f"2026-03-01 {24 + minute % 10}:10:00{fraction}123",
                f"2026-02-29 10:{minute:02d}:00{fraction}123",
                f"2026-13-01 10:{minute:02d}:00{fraction}123",
                f"2025-12-31 23:{minute:02d}:{second:02d}{fraction}123",
                f"2026-03-01 1x:{minute:02d}:{second:02d}{fraction}123",
                f"2026-03-01 10:{minute:02d}:{second:02d}{fraction}",
                f"10:{minute:02d}:{second:02d}",
                "",
            )
        )
    return f"2026-03-01 10:{minute:02d}:{second:02d}{fraction}{r.randrange(1000):03d}"


def leveled_line(r: random.Random, plain: float = 0.8) -> str:
    """One line of a plain log: time, level, message, in one of the usual dresses."""
    ordinary = r.random() < plain
    level = r.choice(("INFO", "INFO", "INFO", "WARN", "ERROR")) if ordinary else r.choice(("INFO", "FATAL", "info", "ERRORS", "", "TRACE"))
    message = r.choice(MESSAGES)
    time = plain_time(r, ordinary or r.random() < 0.5)
    dress = (
        r.choice(("{0} {1} {2}", "{0} {1} {2}", "{0} [{1}] {2}"))
        if ordinary
        else r.choice(
            (
                "[{0}] {1}: {2}",
                "{0}, [main] {1} {2}",
                "{0} [w-1] [{1}] {2}",
                "{0} {1}  {2}",
                "{0} {1}{2}",
                "{0} ({1}) {2}",
                "{0} [] {1} {2}",
                "{2}",
            )
        )
    )
    return dress.format(time, level, message)


def nginx_line(r: random.Random, plain: float = 0.8) -> str:
    """One line of an error log of nginx."""
    ordinary = r.random() < plain
    time = plain_time(r, ordinary or r.random() < 0.5, ".").split(".")[0].replace("-", "/")
    level = r.choice(("error", "warn", "notice", "crit")) if ordinary else r.choice(("error", "ERROR", "", "emerg"))
    return f"{time} [{level}] {r.choice(MESSAGES)}"


def syslog_line(r: random.Random, plain: float = 0.8) -> str:
    """One line of a syslog, or of a log that has a time and a message only."""
    ordinary = r.random() < plain
    time = (
        plain_time(r, ordinary, ".")
        if r.random() < 0.3
        else f"Mar {r.choice((' 1', ' 1', '28'))} 09:{r.randrange(60):02d}:{r.randrange(60):02d}"
    )
    who = r.choice(("app[17]: ", "cron: ", "app[18]: ")) if ordinary else r.choice(("app[x]: ", ": ", "app ", "", "a b: "))
    level = r.choice(("", "", "ERROR ", "INFO: ", "WARNING: ")) if ordinary else r.choice(("error ", "ERROR", "CRIT: "))
    return f"{time} host {who}{level}{r.choice(MESSAGES)}"


def text_line(r: random.Random, plain: float = 0.8) -> str:
    """One line of anything."""
    return r.choice((batch_line, leveled_line, syslog_line, nginx_line))(r, plain) if r.random() < 0.5 else r.choice(MESSAGES)


MAKERS = {
    "json": json_line,
    "combined": access_line,
    "common": access_line,
    "batch": batch_line,
    "leveled": leveled_line,
    "nginx_error": nginx_line,
    "syslog": syslog_line,
    "timed": syslog_line,
    "text": text_line,
}


def nasty_log(form: str, seed: int, lines: int, plain: float = 0.7) -> bytes:
    """A log of about so many lines, some of them truncated, glued, empty, CRLF, with NUL or invalid UTF-8."""
    r = random.Random(seed)
    make = MAKERS[form]
    out: list[bytes] = []
    for _ in range(lines):
        line = make(r, plain).encode("utf-8", "surrogatepass")
        end = b"\n"
        if r.random() > plain:
            kind = r.randrange(22)
            if kind == 0:
                line = line[: r.randrange(len(line) + 1)]
            elif kind == 1:
                end = b""
            elif kind == 2:
                line = b""
            elif kind == 3:
                end = b"\r\n"
            elif kind == 4:
                line = b"\x00" * r.randrange(1, 20) + line
            elif kind == 5:
                place = r.randrange(len(line) + 1)
                line = (
                    line[:place] + r.choice((b"\xff", b"\xe2\x82", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\x7f", b"\xf0\x9f")) + line[place:]
                )
            elif kind == 6:
                line = b"  " + line + b"\t"
            elif kind == 7:
                line = b"\xef\xbb\xbf" + line
            elif kind == 8:
                line = r.choice(
                    (b"[1, 2]", b"null", b"17", b'"text"', b"{}", b"{", b"}", b"[" * 50, b"\xff\xfe\x00", b"   ", b"\r", b"\x00\x00")
                )
            elif kind == 9:
                line = b"app_1  | " + line
            elif kind == 10:
                end = b"\r\r\n"
            elif kind == 11:
                line = line[r.randrange(len(line) + 1) :]
        out.append(line + end)
    data = b"".join(out)
    return data[:-1] if r.random() < 0.3 else data
