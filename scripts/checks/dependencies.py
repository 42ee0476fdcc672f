#!/usr/bin/env python3
"""Checks the packages behind this one against deny.toml: their licences, their sources, and packages in two versions.

`cargo deny check bans licenses sources` reads the same file and says the same, but takes minutes to install; this needs only
`cargo metadata`. It knows the settings that deny.toml uses. Usage: scripts/checks/dependencies.py
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def alternatives(expression):
    """The sets of licences any of which satisfies an SPDX expression: [{"MIT"}, {"Apache-2.0"}] for MIT OR Apache-2.0."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either():
        found = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found = found + both()
        return found

    def both():
        found = single()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = [left | right for right in single() for left in found]
        return found

    def single():
        name = tokens.pop(0)
        if name == "(":
            found = either()
            tokens.pop(0)
            return found
        if tokens and tokens[0] == "WITH":
            name = f"{name} WITH {tokens[1]}"
            del tokens[:2]
        return [{name}]

    return either()


def shipped(metadata):
    """The identifiers of the packages that a build for any system needs: those only of tests and benchmarks are left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, open_ids = set(), [metadata["resolve"]["root"]]
    while open_ids:
        package = open_ids.pop()
        if package not in found:
            found.add(package)
            open_ids += [dependency["pkg"] for dependency in nodes[package]["deps"]
                         if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])]
    return found


def problems(metadata, policy):
    """One line for each rule of deny.toml that is broken."""
    allowed, used = set(policy["licenses"]["allow"]), set()
    packages = {package["id"]: package for package in metadata["packages"]}
    root = packages[metadata["resolve"]["root"]]
    for package in packages.values():
        name = f"{package['name']} {package['version']}"
        sets = alternatives(package["license"]) if package["license"] else []
        used.update(*sets)
        if not any(licences <= allowed for licences in sets):
            yield f"{name}: the licence is {package['license']}, and deny.toml does not allow it"
        if package is not root and not (package["source"] or "").startswith("registry+"):
            yield f"{name}: comes from {package['source'] or 'a folder'}, not from the package registry"
    for licence in sorted(allowed - used):
        yield f"deny.toml: no package has the licence {licence}: remove it from licenses.allow"
    registries = {package["source"] for package in packages.values()} - {None}
    if len(registries) > 1:
        yield f"the packages come from {len(registries)} registries: {', '.join(sorted(registries))}"

    for dependency in root["dependencies"]:
        if dependency["req"] == "*":
            yield f"Cargo.toml: {dependency['name']} has no version"

    skipped = {entry["crate"] for entry in policy["bans"]["skip"]}
    versions = collections.defaultdict(list)
    for identifier in shipped(metadata):
        versions[packages[identifier]["name"]].append(packages[identifier]["version"])
    for name, several in sorted(versions.items()):
        counted = [version for version in several if f"{name}@{version}" not in skipped]
        if len(counted) > 1:
            yield f"{name}: in the versions {', '.join(sorted(counted))}: update, or add one to bans.skip with its reason"
    for entry in sorted(skipped):
        name, version = entry.split("@")
        if len(versions[name]) < 2 or version not in versions[name]:
            yield f"deny.toml: {entry} is not there beside another version: remove it from bans.skip"


def main():
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    metadata = json.loads(result.stdout)
    lines = list(problems(metadata, policy))
    for line in lines:
        print(f"dependencies.py: {line}", file=sys.stderr)
    print(f"{len(metadata['packages'])} packages, {len(shipped(metadata))} of them in a build for any system")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
