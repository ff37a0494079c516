"""`python -m scantling`, for launchers such as torchrun."""

import sys

from scantling.cli.main import main

sys.exit(main())
