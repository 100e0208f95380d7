"""Write every generated table of the documents anew.

python -m tools.docs            # rewrite the pages
python -m tools.docs --check    # exit 1 where a page differs from what it describes
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tools.docs.pages import ROOT, fill, pages, parts


def main(arguments: Sequence[str]) -> int:
    """Rewrite or check the pages; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    found = parts()
    code = 0
    for path in pages():
        page = path.read_text(encoding="utf-8")
        filled = fill(page, found)
        if filled == page:
            continue
        if not arguments:
            path.write_text(filled, encoding="utf-8")
        else:
            print(f"{path.relative_to(ROOT)} differs from what it describes: run python -m tools.docs")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
