#!/usr/bin/env python3
"""Tables of what run.sh has measured: medians with ranges; ratios are those of one round."""

import csv
import statistics
import sys
from collections import defaultdict

rounds = defaultdict(dict)
for row in csv.DictReader(open(sys.argv[1])):
    rounds[row["round"]][row["system"], row["case"]] = row
systems, cases = [], []
for runs in rounds.values():
    for system, case in runs:
        systems += [] if system in systems else [system]
        cases += [] if case in cases else [case]
complete = [r for r in rounds.values() if len(r) == len(systems) * len(cases)]
print(f"{len(complete)} complete rounds of {len(rounds)}\n")


def values(system, case, column):
    found = [r[system, case][column] for r in complete]
    return [float(value) for value in found if value]


def told(values, form):
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} to {high:{form}})"


def table(title, rows, cell):
    print("| " + " | ".join([title, *systems]) + " |")
    print("|---" * (len(systems) + 1) + "|")
    for case in rows:
        print("| " + " | ".join([case, *(cell(system, case) for system in systems)]) + " |")
    print()


floods = [case for case in cases if not case.startswith("ping")]
pings = [case for case in cases if case.startswith("ping")]
table("messages/s", floods, lambda s, c: told(values(s, c, "rate"), ".0f"))
for other in systems[1:]:
    pairs = {c: list(zip(values(other, c, "rate"), values(systems[0], c, "rate"))) for c in floods}
    for case, pair in pairs.items():
        print(f"{other} : {systems[0]}, {case}: {told([ours / theirs for ours, theirs in pair], '.2f')}")
print()
table(
    "CPU us a message, daemons / clients",
    floods,
    lambda s, c: " / ".join(
        f"{statistics.median(values(s, c, column)):.1f}" for column in ("daemons", "clients")
    ),
)
for column in ("p50", "p99"):
    table(column + ", us", pings, lambda s, c: told(values(s, c, column), ".0f"))
