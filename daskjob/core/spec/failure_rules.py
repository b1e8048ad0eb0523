"""The rules of a job's ``failurePolicy`` for failed attempts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.reasons import FINAL_REASONS, Reason
from daskjob.core.shapes import Choice, Integer, Many, Record, Rule, Text


class Action(StrEnum):
    """The action of a failure rule for attempts that match."""

    FAIL_JOB = "FailJob"
    IGNORE = "Ignore"
    COUNT = "Count"


class Operator(StrEnum):
    """How a rule matches its exit codes."""

    IN = "In"
    NOT_IN = "NotIn"


#: The limits of batch/v1's podFailurePolicy.
MOST_RULES = 20
MOST_EXIT_CODES = 255
LARGEST_EXIT_CODE = 255
#: The reasons that a rule may list; final reasons end the job regardless of rules.
RULE_REASONS = tuple(r for r in Reason if r not in FINAL_REASONS and r is not Reason.SUSPENDED)

RULE_NAME = Text("name", "Name of the rule, to describe its purpose.")
ACTION = Choice(
    "action",
    "FailJob: fail the job. Ignore: retry, and do not count the failure. Count: retry, and count "
    "it.",
    Action,
    required="write one of " + ", ".join(Action),
)
OPERATOR = Choice(
    "operator", "In matches the listed codes, NotIn all others.", Operator, "write In or NotIn"
)
VALUES = Many(
    "values",
    f"Exit codes, up to {LARGEST_EXIT_CODE}; 0 is success.",
    Integer("", "An exit code.", maximum=LARGEST_EXIT_CODE),
    required=f"write a list of exit codes from 1 to {LARGEST_EXIT_CODE}",
    at_most=MOST_EXIT_CODES,
)
FAILURES_ONLY = Rule(
    f"self.operator == '{Operator.NOT_IN}' || self.values.all(code, code != 0)",
    f"write exit codes from 1 to {LARGEST_EXIT_CODE} (0 is success)",
    ".values",
)
ON_EXIT_CODES = Record(
    "onExitCodes",
    "Exit codes of the runner's main container that the rule matches.",
    (OPERATOR, VALUES),
    rules=(FAILURES_ONLY,),
)
ON_REASONS = Many(
    "onReasons",
    "Reasons of failed attempts that the rule matches.",
    Choice("", "A reason.", Reason, only=RULE_REASONS),
)
ABOUT_SOMETHING = Rule(
    "has(self.onExitCodes) || has(self.onReasons)",
    "write onExitCodes, onReasons, or both",
)
RULES = Many(
    "rules",
    "Rules for failed attempts; the first rule that matches applies.",
    Record(
        "",
        "A rule. If it has both exit codes and reasons, both must match.",
        (RULE_NAME, ACTION, ON_EXIT_CODES, ON_REASONS),
        rules=(ABOUT_SOMETHING,),
    ),
    at_most=MOST_RULES,
)


@dataclass(frozen=True, slots=True)
class FailureRule:
    """A rule of ``failurePolicy``: matches by exit code, by reason, or by both."""

    action: Action
    name: str = ""
    exit_codes: tuple[int, ...] = ()
    operator: Operator | None = None
    reasons: tuple[Reason, ...] = ()

    def matches(self, reason: Reason, exit_code: int | None) -> bool:
        """Return whether the rule matches an attempt that ended like this."""
        if self.reasons and reason not in self.reasons:
            return False
        if self.operator is None:
            return bool(self.reasons)
        if exit_code is None:
            return False
        return (exit_code in self.exit_codes) is (self.operator is Operator.IN)


def read_rules(failure: Reader) -> tuple[FailureRule, ...]:
    """Return the rules of a failure policy; records every mistake in them."""
    rules: list[FailureRule] = []
    for item in RULES.read(failure):
        action, codes = ACTION.read(item), ON_EXIT_CODES.read(item)
        operator = OPERATOR.read(codes)
        reasons = _read_reasons(item)
        if item.given and not item.has(ON_EXIT_CODES.name) and not item.has(ON_REASONS.name):
            item.mistake("", dict(item.fields), ABOUT_SOMETHING.message)
        if action is not None:
            values = _read_codes(codes, operator)
            rules.append(FailureRule(action, RULE_NAME.read(item), values, operator, reasons))
    return tuple(rules)


def _read_codes(codes: Reader, operator: Operator | None) -> tuple[int, ...]:
    if not codes.given:
        return ()
    values = codes.fields.get(VALUES.name)
    if not isinstance(values, list) or not values:
        codes.mistake(VALUES.name, values, VALUES.required)
        return ()
    if len(values) > MOST_EXIT_CODES:
        codes.mistake(VALUES.name, f"{len(values)} items", f"write at most {MOST_EXIT_CODES}")
    lowest = 1 if operator is Operator.IN else 0
    good = [
        v
        for v in values
        if isinstance(v, int) and not isinstance(v, bool) and lowest <= v <= LARGEST_EXIT_CODE
    ]
    if len(good) != len(values):
        allowed = f"write exit codes from {lowest} to {LARGEST_EXIT_CODE} (0 is success)"
        codes.mistake(VALUES.name, values, allowed)
    return tuple(good)


def _read_reasons(item: Reader) -> tuple[Reason, ...]:
    values = item.fields.get(ON_REASONS.name)
    if values is None:
        return ()
    if not isinstance(values, list) or not all(value in RULE_REASONS for value in values):
        item.mistake(ON_REASONS.name, values, "write a list of " + ", ".join(RULE_REASONS))
        return ()
    return tuple(Reason(value) for value in values)


def written_rules(rules: tuple[FailureRule, ...]) -> list[Manifest]:
    """Return rules as manifests hold them."""
    return [_written_rule(rule) for rule in rules]


def _written_rule(rule: FailureRule) -> Manifest:
    manifest: Manifest = {"action": str(rule.action)}
    if rule.name:
        manifest["name"] = rule.name
    if rule.operator is not None:
        manifest["onExitCodes"] = {"operator": str(rule.operator), "values": list(rule.exit_codes)}
    if rule.reasons:
        manifest["onReasons"] = [str(reason) for reason in rule.reasons]
    return manifest
