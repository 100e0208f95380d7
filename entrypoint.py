"""The same command line as `model-quantizer`, without an installation: `python entrypoint.py …`."""

from __future__ import annotations

import sys

from quantize_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
