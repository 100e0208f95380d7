"""Write every generated table and example of the documents anew.

python -m tools.docs            # rewrite the pages
python -m tools.docs --check    # exit 1 where a page differs from what it describes
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tools.docs import cards
from tools.docs.pages import ROOT, fill, pages, parts


def main(arguments: Sequence[str]) -> int:
    """Rewrite or check the pages; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    found = parts()
    filled_pages = {path: fill(path.read_text(encoding="utf-8"), found) for path in pages()}
    code = 0
    for path, filled in (filled_pages | cards.files()).items():
        if path.is_file() and path.read_text(encoding="utf-8") == filled:
            continue
        if not arguments:
            path.write_text(filled, encoding="utf-8")
        else:
            print(f"{path.relative_to(ROOT)} differs from what it describes: run python -m tools.docs")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
