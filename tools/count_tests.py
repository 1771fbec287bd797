"""Counts the test cases of a `bazel test` run from its build event file.

Usage: count_tests.py EVENTS BAZEL_EXIT_CODE

Prints the failed and skipped cases and, as the last line, `N passed, N failed`. Exits 0 only if
nothing failed, bazel succeeded and at least one case passed. A target that ended without naming a
failed case (a crash, a time-out, a build that broke) counts as one failure.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree


def xml_path(result):
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.xml":
            return urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
    return None


def cases(path):
    """Yields (name, 'passed' | 'failed' | 'skipped', message) for each case of one test.xml."""
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        bad = case.find("failure")
        if bad is None:
            bad = case.find("error")
        skipped = case.find("skipped")
        if bad is not None:
            yield name, "failed", ""
        elif skipped is not None or case.get("result") == "skipped":
            message = skipped.get("message", "") if skipped is not None else ""
            yield name, "skipped", message.strip().splitlines()[-1] if message.strip() else ""
        elif case.get("status") != "notrun":
            yield name, "passed", ""


def main():
    events, bazel_exit = sys.argv[1], int(sys.argv[2])
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    lines = []
    with open(events, encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            if "testResult" not in event:
                continue
            target = event["id"]["testResult"]["label"]
            result = event["testResult"]
            failed_before = counts["failed"]
            path = xml_path(result)
            try:
                found = list(cases(path)) if path else []
            except (OSError, xml.etree.ElementTree.ParseError):
                found = []
            for name, outcome, message in found:
                counts[outcome] += 1
                if outcome != "passed":
                    lines.append(f"{outcome.upper()} {target} {name} {message}".rstrip())
            if result["status"] != "PASSED" and counts["failed"] == failed_before:
                counts["failed"] += 1
                lines.append(f"FAILED {target}: {result['status']}")
    if bazel_exit != 0 and counts["failed"] == 0:
        counts["failed"] += 1
        lines.append(f"FAILED bazel test: exit code {bazel_exit}")
    if counts["passed"] == 0 and counts["failed"] == 0:
        counts["failed"] += 1
        lines.append("FAILED no test case ran")
    for line in lines:
        print(line)
    if counts["skipped"]:
        print(f"{counts['skipped']} skipped")
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return 1 if counts["failed"] else 0


sys.exit(main())
