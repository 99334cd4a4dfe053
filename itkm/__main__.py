"""`python -m itkm` is the command `itkm`."""

from __future__ import annotations

import sys

from itkm.cli import main

sys.exit(main())
