"""The files of a deployment by the rules of .gitignore, which azd and editors apply to .funcignore."""

from pathspec import GitIgnoreSpec

from infra.hooks.package import Excludes, patterns


def by_git() -> Excludes:
    """Return a predicate that says whether a path is excluded by the rules of .gitignore."""
    return GitIgnoreSpec.from_lines(patterns()).match_file
