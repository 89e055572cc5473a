"""One thread for each test process: they run side by side, and one thread gives one order of summation."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
