import sys
from pathlib import Path

# For `rectifid_core`, for `worlds`, the small worlds that these tests share, and for what all suites share.  Appended:
# nothing gets shadowed.
HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parents[1]), str(HERE), str(HERE.parent)]
