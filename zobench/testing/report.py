"""What a check found, and the account of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One check of one estimator on one engine and problem."""

    check: str
    engine: str
    problem: str
    passed: bool | None
    """None: it does not apply, and `detail` says why."""
    detail: str = ""

    def __str__(self) -> str:
        verdict = {True: "pass", False: "FAIL", None: "n/a"}[self.passed]
        return f"{verdict:4} {self.check:22} {self.engine:9} {self.problem:9} {self.detail}".rstrip()


@dataclass
class Report:
    """Everything `check_estimator` found. `str(report)` is a table, failures first."""

    estimator: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def failures(self) -> list[Finding]:
        """The findings that found something wrong."""
        return [f for f in self.findings if f.passed is False]

    @property
    def passed(self) -> bool:
        """Whether nothing failed and something was checked."""
        return not self.failures and any(f.passed for f in self.findings)

    def of(self, check: str) -> list[Finding]:
        """The findings of one check, by its name or by the beginning of it ("V1")."""
        return [f for f in self.findings if f.check.startswith(check)]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.settings.items())
        done = sum(f.passed is not None for f in self.findings)
        head = f"{self.estimator}({given}): {done - len(self.failures)} of {done} checks passed"
        return "\n".join([head, *(str(f) for f in sorted(self.findings, key=lambda f: f.passed is not False))])

    def summary(self) -> str:
        """The head line and the failures alone."""
        groups: dict[str, list[Finding]] = {}
        for f in self.failures:
            groups.setdefault(f.detail, []).append(f)
        return "\n".join([str(self).splitlines()[0], *(_together(fs) for fs in groups.values())])


def _together(findings: list[Finding]) -> str:
    """One line for failures with the same detail."""
    if len(findings) == 1:
        return str(findings[0])
    checks, engines, problems = (
        ", ".join(dict.fromkeys(getattr(f, what) for f in findings)) for what in ("check", "engine", "problem")
    )
    return f"FAIL {checks} on {engines} ({problems}): {findings[0].detail}"
