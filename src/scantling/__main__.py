"""`python -m scantling`, for launchers such as torchrun."""

import os
import sys

# `-m` looks for modules in the current folder first, where a stranger's `json.py` may lie.
sys.path[:] = [folder for folder in sys.path if folder not in ("", os.getcwd())]

from scantling.cli.main import main  # noqa: E402  (only after that)

sys.exit(main())
