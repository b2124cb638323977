"""Stop a release that is not ready: `python .ci/check_release.py v1.2.3`, where the tag is the argument."""

import re
import runpy
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(tag: str) -> None:
    version = runpy.run_path(str(ROOT / "facesr" / "version.py"))["__version__"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if "Repository" not in project.get("urls", {}):
        sys.exit("pyproject.toml has no address: add `Repository` under [project.urls].")
    if tag != f"v{version}":
        sys.exit(f"The tag {tag} is not v{version}, which facesr/version.py says.")
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE):
        sys.exit(f"CHANGELOG.md has no date for {version}: write `## {version} (YYYY-MM-DD)`.")


if __name__ == "__main__":
    main(sys.argv[1])
