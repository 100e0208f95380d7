"""`python -m quantize_lib` is `model-quantizer`."""

from quantize_lib.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
