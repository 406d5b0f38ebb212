# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the figures of a log say: findings."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import findings, thresholds
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import Finding, message

from . import formats as log_formats
from . import signatures as log_signatures
from . import summary as log_summary
from .options import ERRORS_WARNING, UNPARSED_WARNING, CheckSpec, LogSpec, PatternSpec
from .work import Outcome

KIND = "log"
#: Reading was given up: what is in the rest nobody knows.
_ENDED = ("timeout", "memory", "killed")


def findings_of(outcome: Outcome, now: float) -> List[Finding]:
    """All findings of one log. ``now``: seconds since the epoch."""
    spec, summary = outcome.spec, outcome.summary
    judged = _Judge(outcome, now)
    found = [judged.source()]
    if outcome.state == "busy":
        return found
    if spec.cursor:
        found.append(judged.cursor())
    blocked = judged.blocked()
    if blocked is not None:
        found.append(blocked)
    elif summary["lines"] - summary["blank"]:
        found += [item for item in (judged.unparsed(),) if item is not None]
    wanted = {check.value: check for check in spec.checks}
    for value in _values(spec, wanted):
        item = judged.value(value, wanted.get(value) or CheckSpec(value, None, None, None), blocked)
        if item is not None:
            found.append(item)
    for pattern in spec.patterns if not judged.absent else ():
        found += judged.pattern(pattern)
    for item in found:
        item["remedy"] = item["remedy"] or spec.remedy
    found[0]["duration_ms"] = round(outcome.seconds * 1000, 1)
    return found


def _values(spec: LogSpec, wanted: Mapping[str, CheckSpec]) -> List[str]:
    values = ["errors", *wanted]
    for field in spec.fields:
        values.append("p95." + field.name)
        if field.slow is not None:
            values.append("slow." + field.name)
    patterns = {pattern.name for pattern in spec.patterns}
    plain = {"unparsed"}
    # "unparsed" is always told by itself; a pattern's age and count likewise.
    return [
        value
        for value in dict.fromkeys(values)
        if value not in plain and not (value.partition(".")[0] in ("age", "count") and value.partition(".")[2] in patterns)
    ]


class _Judge:
    def __init__(self, outcome: Outcome, now: float) -> None:
        self.outcome = outcome
        self.spec = outcome.spec
        self.summary = outcome.summary
        self.now = now
        self.figures = log_summary.figures(outcome.summary, outcome.spec.burst, now)
        self.checks = {check.value: check for check in outcome.spec.checks}
        codes = {problem.code for problem in outcome.problems}
        self.unread = bool(codes - ({"missing"} if outcome.files else set())) and not self.summary["lines"]
        self.nothing = not outcome.files and bool(self.spec.paths)
        self.absent = self.nothing and self.spec.optional and codes <= {"missing"}
        #: Why more may be in the log than was read.
        self.gap = next((problem for problem in outcome.problems if problem.code != "missing" or not outcome.files), None)
        self.ended = next((problem for problem in outcome.problems if problem.code in _ENDED), None)

    def _finding(self, what: str, status: str, text: findings.Message, **more: Any) -> Finding:
        return findings.finding("log.%s.%s" % (self.spec.name, what), KIND, status, text, **more)

    def source(self) -> Finding:
        """Whether everything that was named could be read."""
        spec, problems = self.spec, self.outcome.problems
        if self.outcome.state == "busy":
            return self._finding("source", "unknown", message("log.busy", log=spec.name))
        evidence: Dict[str, Any] = {"log_files": [log_signatures.mask(path) for path in self.outcome.files[:20]]}
        if self.absent:
            return self._finding("source", "ok", message("log.absent", log=spec.name), evidence={"log_paths": list(spec.paths)})
        if problems:
            evidence["log_problems"] = [
                " ".join(part for part in (problem.path, problem.code, problem.detail) if part) for problem in problems[:10]
            ]
            evidence["log_lines"] = self.summary["lines"]
            first = problems[0]
            reason = message("reason.log_" + first.code, detail=first.detail)
            text = message("log.problem", log=spec.name, path=first.path, reason=reason, count=len(problems))
            return self._finding("source", "unknown", text, value=self.summary["lines"], evidence=evidence)
        for name in ("bytes", "oversize", "continued", "partial", "untimed", "outside"):
            if self.summary[name]:
                evidence["log_" + name] = self.summary[name]
        evidence["log_formats"] = sorted(self.summary["formats"])
        evidence.update(self._times())
        text = message("log.read", log=spec.name, lines=self.summary["lines"], files=len(self.outcome.files))
        return self._finding("source", "ok", text, value=self.summary["lines"], evidence=evidence)

    def _times(self) -> Dict[str, Any]:
        return {"log_" + name: findings.utc_now(self.summary[name]) for name in ("first", "last") if self.summary[name] is not None}

    def cursor(self) -> Finding:
        """Whether the place where reading ended was found again and kept."""
        if self.outcome.state in ("broken", "unwritable"):
            return self._finding("cursor", "unknown", message("log.cursor_" + self.outcome.state, log=self.spec.name))
        if self.outcome.state == "repeated" and not self.outcome.gone:
            text = message("log.cursor_repeated", log=self.spec.name, lines=self.summary["lines"])
            return self._finding("cursor", "warning", text, value=self.summary["lines"])
        if self.outcome.gone:
            text = message("log.cursor_gone", log=self.spec.name, path=self.outcome.gone[0], count=len(self.outcome.gone))
            return self._finding("cursor", "warning", text, value=len(self.outcome.gone), evidence={"log_paths": self.outcome.gone[:20]})
        return self._finding("cursor", "ok", message("log.cursor", log=self.spec.name, lines=self.summary["lines"]))

    def blocked(self) -> Optional[Finding]:
        """Why nothing can be said of what is in the log, if so: its format or its times do not fit."""
        summary = self.summary
        written = summary["lines"] - summary["blank"]
        if not written:
            return None
        unfit = self.outcome.unfit
        if unfit is not None or (summary["parsed"] == 0 and summary["unparsed"]):
            line = unfit.line if unfit is not None else (summary["samples"] or [""])[0]
            text = message("log.format", log=self.spec.name, format=self.spec.format, nearest=log_formats.nearest_format(line))
            return self._finding("format", "unknown", text, evidence={"log_line": log_signatures.mask(line)[:500]})
        windowed = self.spec.since is not None or self.spec.until is not None
        if windowed and summary["parsed"] and summary["untimed"] == summary["parsed"]:
            text = message("log.untimed", log=self.spec.name, lines=summary["parsed"], fields=list(self.spec.roles["time"]))
            return self._finding("time", "unknown", text)
        return None

    def unparsed(self) -> Optional[Finding]:
        """The share of lines that the format does not fit."""
        check = self.checks.get("unparsed") or CheckSpec("unparsed", UNPARSED_WARNING, None, None)
        share = self.figures["unparsed"]
        evidence = {"log_samples": self.summary["samples"], "log_unparsed": self.summary["unparsed"]} if self.summary["unparsed"] else {}
        text = message("log.unparsed", log=self.spec.name, count=self.summary["unparsed"], lines=self.summary["lines"], share=_share(share))
        return self._judged("unparsed", share, "%", text, check, evidence)

    def _judged(self, what: str, value: Optional[float], unit: str, text: findings.Message, check: CheckSpec, evidence: Any) -> Finding:
        status = thresholds.judge(value, check.warning, check.critical)
        if status == "ok" and self.ended is not None:
            # What was not read may be what is wrong.
            return self._cannot(what, check, message("reason.log_" + self.ended.code, detail=self.ended.detail))
        return self._finding(
            what,
            status,
            text,
            value=value,
            unit=unit,
            warning=check.warning,
            critical=check.critical,
            evidence=evidence,
            remedy=check.remedy,
        )

    def _cannot(self, what: str, check: CheckSpec, reason: findings.Message) -> Finding:
        text = message("log.cannot", log=self.spec.name, value=what, reason=reason)
        return self._finding(what, "unknown", text, warning=check.warning, critical=check.critical, remedy=check.remedy)

    def _reason(self, blocked: Optional[Finding]) -> Optional[findings.Message]:
        if blocked is not None:
            return message("reason.log_unfit" if blocked["message"] == "log.format" else "reason.log_untimed")
        if not self.absent and (self.unread or self.nothing):
            code = self.outcome.problems[0].code if self.outcome.problems else "missing"
            return message("reason.log_" + code, detail=self.outcome.problems[0].detail if self.outcome.problems else "")
        return None

    def value(self, value: str, check: CheckSpec, blocked: Optional[Finding]) -> Optional[Finding]:
        """The finding of one value that a check may name."""
        reason = self._reason(blocked)
        what, _, name = value.partition(".")
        if reason is not None:
            return self._cannot(value, check, reason)
        if self.absent and not self.summary["records"] and what != "errors":
            return None
        if not name:
            return self._plain(what, check)
        fields = {field.name: field for field in self.spec.fields}
        if name in fields and what != "age":
            return self._field(what, name, fields[name].unit, check)
        return self._pattern_value(what, name, check)

    def _plain(self, what: str, check: CheckSpec) -> Finding:
        figures, name = self.figures, self.spec.name
        if what == "errors":
            if "errors" not in self.checks and "error_rate" not in self.checks and "burst" not in self.checks:
                check = CheckSpec("errors", ERRORS_WARNING, None, None)
            text = message("log.errors", log=name, count=figures["errors"], records=figures["records"])
            return self._judged("errors", figures["errors"], "", text, check, self._errors())
        if what == "error_rate":
            if figures["error_rate"] is None:
                return self._cannot(what, check, message("reason.log_no_records"))
            text = message("log.error_rate", log=name, share=_share(figures["error_rate"]), of=figures["error_rate_of"])
            return self._judged(what, figures["error_rate"], "%", text, check, self._errors())
        if what == "burst":
            burst = figures["burst"]
            text = message("log.burst", log=name, count=burst["count"], within=self.spec.burst)
            evidence = {"log_burst_start": findings.utc_now(burst["start"])} if burst["count"] else {}
            return self._judged(what, burst["count"], "", text, check, {**evidence, **self._errors()})
        if what == "records":
            text = message("log.records", log=name, count=figures["records"])
            return self._judged(what, figures["records"], "", text, check, self._counts())
        if figures["rate"] is None:
            return self._cannot(what, check, message("reason.log_no_span"))
        text = message("log.rate", log=name, rate=_share(figures["rate"]), span=figures["span"])
        return self._judged(what, figures["rate"], "1/s", text, check, self._counts())

    def _errors(self) -> Dict[str, Any]:
        spec, summary = self.spec, self.summary
        evidence: Dict[str, Any] = {}
        if summary["errors"]:
            evidence["log_signatures"] = [
                "%d × %s" % (count, findings.cut(text, 200)) for text, count, _ in log_summary.ranked_signatures(summary)[: spec.top]
            ]
            evidence["log_newest"] = [
                findings.cut("%s %s" % (findings.utc_now(when) if when is not None else "-", text), 300)
                for when, text in summary["newest"][: spec.newest]
            ]
        return {**evidence, **self._counts()}

    def _counts(self) -> Dict[str, Any]:
        evidence: Dict[str, Any] = {}
        for label, counts in (("log_levels", self.summary["levels"]), ("log_statuses", self.summary["statuses"])):
            if counts:
                evidence[label] = _ranking(counts, 10)
        if self.summary["counts"]:
            evidence["log_counts"] = [
                "%s: %s" % (name, row) for name, counts in self.summary["counts"].items() for row in _ranking(counts, self.spec.top)
            ]
        evidence.update(self._times())
        return evidence

    def _field(self, what: str, name: str, unit: str, check: CheckSpec) -> Finding:
        figures = self.figures["fields"][name]
        value = figures["slow_count"] if what == "slow" else figures[what]
        if what not in ("count", "slow") and value is None:
            reason = message("reason.log_no_values", field=name)
            if check.warning is None and check.critical is None:
                text = message("log.no_values", log=self.spec.name, field=name)
                return self._finding("%s.%s" % (what, name), "ok", text, evidence={"log_bad": figures["bad"]} if figures["bad"] else {})
            return self._cannot("%s.%s" % (what, name), check, reason)
        evidence: Dict[str, Any] = {
            "log_" + key: round(figures[key], 4) for key in ("min", "mean", "p50", "p95", "p99", "max") if figures[key] is not None
        }
        evidence["log_values"] = figures["count"]
        evidence["log_relative_error"] = "1%"
        if figures["bad"]:
            evidence["log_bad"] = figures["bad"]
        if figures["edges"]:
            evidence["log_buckets"] = _buckets(figures["edges"], figures["buckets"])
        if self.summary["slowest"].get(name):
            evidence["log_slowest"] = [
                " ".join(
                    part for part in (findings.utc_now(when) if when is not None else "-", _plain(slow), unit, identifier, text) if part
                )
                for slow, when, identifier, text in self.summary["slowest"][name][: self.spec.newest]
            ]
        counted = what in ("count", "slow")
        identifier = "log.slow" if what == "slow" else "log.count" if what == "count" else "log.field"
        text = message(
            identifier, log=self.spec.name, field=name, what=what, value=value, unit=unit, count=figures["count"], limit=figures["slow"]
        )
        return self._judged("%s.%s" % (what, name), value, "" if counted else unit, text, check, evidence)

    def _pattern_value(self, what: str, name: str, check: CheckSpec) -> Finding:
        figures = self.figures["patterns"][name]
        unit = next(pattern.unit for pattern in self.spec.patterns if pattern.name == name)
        value = figures["rate"] if what == "rate" else figures["numbers"][what]
        if value is None:
            no = message("reason.log_no_span") if what == "rate" else message("reason.log_no_values", field=name)
            return self._cannot("%s.%s" % (what, name), check, no)
        unit = "1/s" if what == "rate" else unit
        text = message("log.field", log=self.spec.name, field=name, what=what, value=value, unit=unit, count=figures["count"], limit=None)
        return self._judged("%s.%s" % (what, name), value, unit if unit in findings.UNITS else "", text, check, {})

    def pattern(self, pattern: PatternSpec) -> List[Finding]:
        """How often a pattern was seen, and how long ago the last time."""
        name = pattern.name
        figures = self.figures["patterns"][name]
        count_check = self.checks.get("count." + name) or CheckSpec("count." + name, pattern.warning, pattern.critical, pattern.remedy)
        age_check = self.checks.get("age." + name)
        if age_check is None and pattern.max_age is not None:
            age_check = CheckSpec("age." + name, None, "%g" % pattern.max_age, pattern.remedy)
        reason = self._reason(None)
        if reason is not None:
            found = [self._cannot("count." + name, count_check, reason)]
            return found + ([self._cannot("age." + name, age_check, reason)] if age_check is not None else [])
        evidence: Dict[str, Any] = {}
        if figures["last"] is not None:
            evidence["log_last_match"] = findings.utc_now(figures["last"])
            evidence["log_line"] = figures["line"]
        numbers = figures["numbers"]
        if numbers["count"]:
            evidence["log_values"] = numbers["count"]
            for key in ("min", "mean", "p50", "p95", "max"):
                evidence["log_" + key] = None if numbers[key] is None else round(numbers[key], 4)
        text = message("log.pattern", log=self.spec.name, pattern=name, count=figures["count"])
        found = [self._judged("count." + name, figures["count"], "", text, count_check, evidence)]
        if age_check is not None:
            found.append(self._age(pattern, figures, age_check, evidence))
        return found

    def _age(self, pattern: PatternSpec, figures: Mapping[str, Any], check: CheckSpec, evidence: Dict[str, Any]) -> Finding:
        what = "age." + pattern.name
        if figures["last"] is None:
            if self.spec.cursor and not figures["ever"]:
                # Only new lines were read: that says nothing about the last match.
                return self._cannot(what, check, message("reason.log_cursor_age"))
            if figures["ever"]:
                return self._cannot(what, check, message("reason.log_untimed"))
            if self.gap is not None:
                return self._cannot(what, check, message("reason.log_" + self.gap.code, detail=self.gap.detail))
            text = message("log.never", log=self.spec.name, pattern=pattern.name)
            status = "critical" if check.critical is not None else "warning"
            evidence = {"log_lines": self.summary["lines"], "log_files": self.outcome.files[:20]}
            return self._finding(
                what, status, text, unit="s", warning=check.warning, critical=check.critical, evidence=evidence, remedy=check.remedy
            )
        age = max(0.0, self.now - figures["last"])
        text = message("log.age", log=self.spec.name, pattern=pattern.name, age=age)
        return self._judged(what, age, "s", text, check, evidence)


def _share(value: Optional[float]) -> Optional[str]:
    """A rate to three significant digits: 0.004 stays 0.004."""
    return None if value is None else "%.3g" % value if value < 1000 else "%.0f" % value


def _plain(value: float) -> str:
    return "%.6g" % value


def _ranking(counts: Mapping[str, int], size: int) -> List[str]:
    ranked: List[Tuple[str, int]] = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ["%s: %d" % (findings.cut(log_signatures.mask(value), 120), count) for value, count in ranked[:size]]


def _buckets(edges: List[float], counts: List[int]) -> List[str]:
    total = sum(counts) or 1
    names = ["< %g" % edges[0], *("%g–%g" % pair for pair in zip(edges, edges[1:])), "≥ %g" % edges[-1]]
    return ["%s: %d (%.3g%%)" % (name, count, 100.0 * count / total) for name, count in zip(names, counts)]
