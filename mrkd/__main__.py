"""`python -m mrkd`."""

import sys

from mrkd.cli import main

sys.exit(main())
